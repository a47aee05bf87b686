package drivertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// faultID is the layer that is worked on.
const faultID driver.ID = "w"

// faultChain are the parents of it.
var faultChain = []driver.ID{"mid", "base"}

// A faultOp is a method of a driver with what it is called on.
type faultOp struct {
	name string
	// prepare makes the layers that the operation needs beside base and mid.
	prepare func(st *store)
	// run may be repeated after an error. It returns what the operation found out.
	run func(st *store) (any, error)
	// spoils is the error of the next try where a failure in the middle may leave
	// the layer as one that has to be made again.
	spoils error
	// resumes is what an operation other than the next try of this one gets after a
	// failure in the middle, where the next try goes on with what was begun.
	resumes error
	// rewrites: the operation may change how the layer is kept before it is done,
	// not what it holds, such as a translation that a mount needs, and that goes
	// with the layer.
	rewrites bool
	// sampled: not all of its calls are made to fail.
	sampled bool
	// whole: all of them are, also without the flag -faults.
	whole bool
}

// A sparedCall is one whose failure an operation need not report.
type sparedCall struct {
	call  string     // empty for all
	errno unix.Errno // zero for all
	in    string     // a function that is at work
	why   string
	// leaves is what stays of it in the layer's directory, which goes with the
	// layer.
	leaves string
}

// spared are all of them.
var spared = []sparedCall{
	{call: "fstat", in: "os.ReadFile", why: "asks for the size, to read all at once"},
	{call: "fstatat", in: "os.MkdirAll", why: "asks whether there is a directory, which making one finds out too"},
	{call: "setxattr", in: "internal/layerdir.XattrNamespaces", errno: unix.ENOSPC, why: "what has no room now can be held"},
	{in: "aufs.xinoPlaces", why: "a directory that cannot be asked about is not used; there are others"},
	{in: "aufs.(*store).recover", why: "what is left of interrupted calls does not exist for anybody, and Cleanup tries again, which the log says"},
	{call: "fstatat", in: "os.rename", why: "asks whether there is a directory, for a better error"},
	{in: "internal/durable.createUnnamed", why: "where a file cannot be made without a name, it gets one"},
	{in: "internal/layerdir.(*Store).Staging.func1", why: "the layer is made, and Leftovers says that there is something for Cleanup"},
	{in: "mount.Mounter.detachedOverlay", why: "another way of mounting does it"},
	{in: "mount.Mounter.inOwnNamespace", why: "another way of mounting does it"},
	{in: "overlay2.(*backend).workInUse", errno: unix.ENOSPC, why: "on a full disk the kernel cannot be asked, and mount tables are looked at"},
	{call: "statx", in: "mount.isMountRoot", why: "the mount table tells as well"},
	{call: "openat2", in: "github.com/moby/sys/mountinfo.mountedByOpenat2", why: "the mount table tells as well"},
	{in: "aufs.(*store).mark", errno: unix.ENOSPC, why: "on a full disk the record becomes the mark"},
	{in: "btrfs.(*backend).staging.func1", why: "as before"},
	{in: "aufs.(*translator).remove", why: "asks only whether there is something to remove, which removing it finds out too"},
	{in: "overlay2.(*backend).dropDelta", why: "the layer is rebased, which the log says", leaves: "delta"},
	{call: "unlinkat", in: "internal/rmtree.quick", why: "is tried again"},
	{call: "unlinkat", in: "os.Remove", why: "tries both ways of removing a name"},
	{in: "vfs.(*backend).now", why: "on a full disk everything is compared, which is said in the log"},
	{in: "vfs.loadManifest", why: "without the manifest everything is compared, which is said in the log"},
}

func nothing(*store) {}

// filled makes the layer, over parents, as an applied layer.
func filled(st *store) {
	st.create(faultID, faultChain...)
	st.mustApply(faultID, everything()...)
}

func created(parents ...driver.ID) func(st *store) {
	return func(st *store) { st.create(faultID, parents...) }
}

func sealedLayer(st *store) { filled(st); st.seal(faultID) }

// detached makes the layer as one that was unpacked without its parents.
func detached(st *store) {
	st.create(faultID)
	_, err := applyOp(detachedLayer(), driver.ApplyOptions{Detached: true}).run(st)
	require.NoError(st.t, err)
}

// detachedLayer is a layer that does not need its parents.
func detachedLayer() []Entry {
	return []Entry{Dir("d").WithMode(0o711), File("d/x", "new"), Opaque("o"), Whiteout("e/f"), Dir("fresh"), File("fresh/f", "f"), Link("fresh/g", "fresh/f")}
}

// edited makes the layer as one that was written to through its mount.
func edited(st *store) {
	st.create(faultID, faultChain...)
	st.edit(faultID, Append("d/x", "!"), Remove("file"), Mkdir("made"), Create("made/n", "n"), Chmod("d/y", 0o600), Remove("e/f"),
		MakeSymlink("made/s", "n"), MakeLink("made/l", "made/n"))
}

func createOp(opts driver.CreateOptions, parents ...driver.ID) func(st *store) (any, error) {
	return func(st *store) (any, error) { return nil, st.d.Create(st.ctx(), faultID, parents, opts) }
}

func applyOp(entries []Entry, opts driver.ApplyOptions) faultOp {
	layer, err := Encode(entries)
	return faultOp{run: func(st *store) (any, error) {
		if err != nil {
			return nil, err
		}
		return st.d.ApplyDiff(st.ctx(), faultID, bytes.NewReader(layer), opts)
	}}
}

// openOp opens the store once more, and returns what the driver found out of
// its file system, but not the way it mounts: where one fails, the next one is
// taken.
func openOp(st *store) (found any, err error) {
	d, err := st.New(st.ctx(), st.dir, st.Options)
	if err != nil {
		return nil, err
	}
	if r, ok := d.(driver.Rememberer); ok {
		found = wayFound.ReplaceAllString(string(r.Found()), "")
	}
	if p, ok := d.(driver.Placer); ok && p.Leftovers() {
		err = d.Cleanup(st.ctx())
	}
	return found, errors.Join(err, d.Close())
}

var wayFound = regexp.MustCompile(`"Way":\d,?`)

func diffOp(st *store) (any, error) { return writeDiff(st, faultID) }

// writeDiff returns the layer that the driver writes, but for times of this
// run.
func writeDiff(st *store, id driver.ID) ([]byte, error) {
	var buf bytes.Buffer
	_, err := driver.Diff(st.ctx(), st.d, id, &buf, driver.DiffOptions{MaxTime: EditTime, Warn: func(string, string) {}})
	return buf.Bytes(), err
}

func viewOp(st *store) (any, error) {
	v, err := st.d.View(st.ctx(), faultID)
	if err != nil {
		return nil, err
	}
	tree, err := ReadView(v)
	return tree, errors.Join(err, v.Close())
}

func sealOp(st *store) (any, error)   { return nil, st.d.Seal(st.ctx(), faultID) }
func removeOp(st *store) (any, error) { return nil, st.d.Remove(st.ctx(), faultID) }
func usageOp(st *store) (any, error)  { return st.d.Usage(st.ctx(), faultID) }
func layersOp(st *store) (any, error) { return st.d.Layers(st.ctx()) }
func recordOp(st *store) (any, error) { return st.d.(driver.Recorder).Record(st.ctx(), faultID) }

func noteOp(st *store) (any, error) {
	return nil, st.d.(driver.Recorder).Note(st.ctx(), faultID, json.RawMessage(`"note"`))
}

func noteNowOp(st *store) (any, error) {
	return nil, st.d.(driver.Recorder).NoteNow(st.ctx(), faultID, json.RawMessage(`"note"`))
}

func rerecordOp(st *store) (any, error) {
	return nil, st.d.(driver.Rerecorder).Rerecord(st.ctx(), faultID, faultChain, driver.CreateOptions{})
}

func rebaseOp(st *store) (any, error) {
	return nil, st.d.(driver.Rebaser).Rebase(st.ctx(), faultID, faultChain)
}

func mountOp(id driver.ID, opts driver.MountOptions) func(st *store) (any, error) {
	return func(st *store) (any, error) { return st.d.Mount(st.ctx(), id, opts) }
}

// mountedOp mounts for a moment, and reads what the mount shows.
func mountedOp(id driver.ID, opts driver.MountOptions) func(st *store) (any, error) {
	return func(st *store) (shown any, err error) {
		mounts, err := st.d.Mount(st.ctx(), id, opts)
		if err != nil {
			return nil, st.endVolatile(id, opts, err)
		}
		err = st.mounter().WithTemp(st.ctx(), mounts, func(root string) error {
			tree, err := ReadPath(root)
			shown = tree.Brief()
			return err
		})
		if err != nil {
			err = st.endVolatile(id, opts, err)
		}
		return shown, err
	}
}

// endVolatile does what a caller does whose mount without syncs has failed.
func (st *store) endVolatile(id driver.ID, opts driver.MountOptions, failed error) error {
	if !opts.Volatile {
		return failed
	}
	_, err := st.d.Mount(st.ctx(), id, driver.MountOptions{})
	return errors.Join(failed, err)
}

// faultOps are the operations of this backend here.
func (s *suite) faultOps() []faultOp {
	apply := func(opts driver.ApplyOptions) func(*store) (any, error) { return applyOp(everything(), opts).run }
	ops := []faultOp{
		{name: "open", prepare: filled, run: openOp, whole: true}, // each call of a probe decides for itself
		{name: "create without parents", prepare: nothing, run: createOp(driver.CreateOptions{})},
		{name: "create over parents", prepare: nothing, run: createOp(driver.CreateOptions{}, faultChain...)},
		{name: "create a view", prepare: nothing, run: createOp(driver.CreateOptions{View: true}, faultChain...)},
		{name: "apply over parents", prepare: created(faultChain...), run: apply(driver.ApplyOptions{})},
		{name: "apply without parents", prepare: created(), run: applyOp(everythingBase(), driver.ApplyOptions{}).run},
		{name: "apply to what holds a layer", prepare: func(st *store) {
			st.create(faultID, faultChain...)
			st.mustApply(faultID, everythingBase()...)
		}, run: apply(driver.ApplyOptions{})},
		{name: "apply to disk", prepare: created(), run: applyOp(detachedLayer(), driver.ApplyOptions{Sync: true}).run},
		{name: "apply a damaged layer", prepare: created(faultChain...), run: func(st *store) (any, error) {
			got, err := applyOp(append(everything(), Link("h", "no/such/file")), driver.ApplyOptions{}).run(st)
			if errors.Is(err, driver.ErrInvalidLayer) {
				return "refused", nil
			}
			return got, err
		}},
		{name: "diff", prepare: filled, run: diffOp},
		{name: "diff of a sealed layer", prepare: sealedLayer, run: diffOp},
		{name: "view", prepare: filled, run: viewOp},
		{name: "seal", rewrites: true, prepare: filled, run: sealOp},
		{name: "seal what is sealed", prepare: sealedLayer, run: sealOp},
		{name: "usage", prepare: filled, run: usageOp},
		{name: "usage of a sealed layer", prepare: sealedLayer, run: usageOp},
		{name: "remove", prepare: filled, run: removeOp},
		{name: "remove what is missing", prepare: nothing, run: removeOp},
		{name: "layers", prepare: filled, run: layersOp},
		{name: "record", prepare: filled, run: recordOp},
		{name: "note", prepare: filled, run: noteOp},
		{name: "note now", prepare: filled, run: noteNowOp},
		{name: "note on a sealed layer", prepare: sealedLayer, run: noteOp},
		{name: "mounts of a sealed layer", rewrites: true, prepare: sealedLayer, run: mountOp(faultID, driver.MountOptions{})},
	}
	return append(append(ops, s.moreFaultOps()...), s.mappedFaultOps()...)
}

// moreFaultOps are those that not every backend has, or not everywhere.
func (s *suite) moreFaultOps() (ops []faultOp) {
	if s.props.Rebase {
		ops = append(ops,
			faultOp{name: "apply detached", prepare: created(), run: applyOp(detachedLayer(), driver.ApplyOptions{Detached: true}).run},
			faultOp{name: "rebase", prepare: detached, run: rebaseOp, spoils: driver.ErrNeedsParents},
			faultOp{name: "usage of a detached layer", prepare: detached, run: usageOp},
			faultOp{name: "seal a detached layer", prepare: detached, run: sealOp, spoils: driver.ErrNeedsParents},
			faultOp{name: "rebase what is rebased", prepare: func(st *store) {
				detached(st)
				_, err := rebaseOp(st)
				require.NoError(st.t, err)
			}, run: rebaseOp})
	}
	if s.rerecords {
		ops = append(ops, faultOp{name: "record again", prepare: filled, run: rerecordOp})
	}
	if s.props.Explain {
		ops = append(ops, faultOp{name: "provider", prepare: filled, run: func(st *store) (any, error) {
			return st.d.(driver.Explainer).Provider(st.ctx(), faultID, "d/y")
		}})
	}
	if s.props.Quota {
		ops = append(ops,
			faultOp{name: "create with a limit", prepare: nothing, run: createOp(driver.CreateOptions{Size: 64 << 20}, faultChain...)},
			faultOp{name: "apply to a layer with a limit", prepare: func(st *store) {
				st.createLimited(faultID, faultChain...)
			}, run: applyOp(everything(), driver.ApplyOptions{}).run})
	}
	if s.edits() {
		ops = append(ops,
			faultOp{name: "diff what was edited", prepare: edited, run: diffOp},
			faultOp{name: "seal what was edited", rewrites: true, prepare: edited, run: sealOp},
			faultOp{name: "usage of what was edited", prepare: edited, run: usageOp})
		if s.findsWriters {
			ops = append(ops, faultOp{name: "look for writers", prepare: edited, run: func(st *store) (any, error) {
				return nil, st.finder().NoWriters(st.ctx(), faultID)
			}})
		}
	}
	if s.can.mounts {
		ops = append(ops, faultOp{name: "mount a sealed layer", rewrites: true, prepare: sealedLayer, run: mountedOp(faultID, driver.MountOptions{})})
		if s.props.MountsWritable {
			ops = append(ops, faultOp{name: "mount a writable layer", prepare: filled, run: mountedOp(faultID, driver.MountOptions{Volatile: true})})
		}
	}
	return append(ops, faultOp{name: "damaged stream", prepare: created(faultChain...), run: func(st *store) (any, error) {
		_, err := st.d.ApplyDiff(st.ctx(), faultID, strings.NewReader("no tar"), driver.ApplyOptions{})
		if errors.Is(err, driver.ErrInvalidLayer) {
			return "refused", nil
		}
		return nil, err
	}})
}
