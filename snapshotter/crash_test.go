package snapshotter

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// A crashCase is one call on a store that newCrashStore has made.
type crashCase struct {
	name  string
	call  func(ctx context.Context, s *Snapshotter) error
	needs func(d driver.Driver) bool
	// done reports from the rows whether the call took effect.
	done func(rows map[string]meta.Snapshot) bool
}

var crashCases = []crashCase{
	{
		name:  "prepare",
		call:  func(ctx context.Context, s *Snapshotter) error { _, err := s.Prepare(ctx, "new", "base"); return err },
		needs: func(d driver.Driver) bool { return d.Properties().MountsWritable },
		done:  has("new"),
	},
	{
		name: "make",
		call: func(ctx context.Context, s *Snapshotter) error { return s.Create(ctx, "new", "base") },
		done: has("new"),
	},
	{
		name: "view",
		call: func(ctx context.Context, s *Snapshotter) error { _, err := s.View(ctx, "new", "base"); return err },
		done: has("new"),
	},
	{
		name: "commit",
		call: func(ctx context.Context, s *Snapshotter) error { return s.Commit(ctx, "committed", "key") },
		done: has("committed"),
	},
	{
		name: "commit on a parent",
		call: func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "committed", "alone", snapshots.WithParent("base"))
		},
		needs: func(d driver.Driver) bool { return d.Properties().Rebase },
		done:  has("committed"),
	},
	{
		name: "rename an active snapshot",
		call: func(ctx context.Context, s *Snapshotter) error { return s.Rename(ctx, "key", "key renamed") },
		done: has("key renamed"),
	},
	{
		name: "rename a committed snapshot with others on it",
		call: func(ctx context.Context, s *Snapshotter) error { return s.Rename(ctx, "base", "base renamed") },
		done: has("base renamed"),
	},
	{
		name: "remove an active snapshot",
		call: func(ctx context.Context, s *Snapshotter) error { return s.Remove(ctx, "key") },
		done: lacks("key"),
	},
	{
		name: "remove a committed snapshot",
		call: func(ctx context.Context, s *Snapshotter) error { return s.Remove(ctx, "leaf") },
		done: lacks("leaf"),
	},
	{
		name: "apply",
		call: func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Apply(ctx, "fresh", strings.NewReader(layerTar("applied")), driver.ApplyOptions{})
			return err
		},
		done: func(map[string]meta.Snapshot) bool { return false }, // the rows do not show it
	},
	{
		name:  "renew",
		call:  renewBase,
		needs: replaces,
		done:  func(map[string]meta.Snapshot) bool { return false }, // the rows do not show it
	},
}

func has(name string) func(map[string]meta.Snapshot) bool {
	return func(rows map[string]meta.Snapshot) bool { _, ok := rows[name]; return ok }
}

func lacks(name string) func(map[string]meta.Snapshot) bool {
	return func(rows map[string]meta.Snapshot) bool { _, ok := rows[name]; return !ok }
}

// layerTar returns a layer tar with one file, whose content is its name.
func layerTar(name string) string { return fileTar(name, name) }

// fileTar returns a layer tar with one file.
func fileTar(name, body string) string {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	header := &tar.Header{
		Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body)),
		ModTime: time.Unix(1_700_000_000, 0), Format: tar.FormatUSTAR,
	}
	if err := errors.Join(w.WriteHeader(header), writeAll(w, body), w.Close()); err != nil {
		panic(err)
	}
	return out.String()
}

// filesOf returns the contents of the regular files in a layer tar.
func filesOf(t *testing.T, layer string) map[string]string {
	t.Helper()
	files := map[string]string{}
	r := tar.NewReader(strings.NewReader(layer))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		if header.Typeflag != tar.TypeReg {
			continue
		}
		body, err := io.ReadAll(r)
		require.NoError(t, err)
		files[header.Name] = string(body)
	}
}

func writeAll(w *tar.Writer, body string) error {
	_, err := w.Write([]byte(body))
	return err
}

// A crashStore is a store whose process can be killed and started again.
type crashStore struct {
	root  string
	open  openDriver
	fault *fault
	s     *Snapshotter
}

// newCrashStore makes a store in dir. It has the committed snapshots "base",
// and "leaf" over it. It has three active snapshots: "key" over "base",
// "alone", which was unpacked without its parent when the driver can do that,
// and "fresh", which is empty. The content of each of the others is its name.
func newCrashStore(t *testing.T, dir string, open openDriver) *crashStore {
	c := &crashStore{root: freshDir(t, dir), open: open}
	c.start(t)
	commit(t, c.s, "base", "", layerTar("base"))
	commit(t, c.s, "leaf", "base", layerTar("leaf"))
	active(t, c.s, "key", "base", layerTar("key"))
	require.NoError(t, c.s.Create(t.Context(), "alone", ""))
	_, err := c.s.Apply(t.Context(), "alone", strings.NewReader(layerTar("alone")), driver.ApplyOptions{
		Detached: c.s.Driver().Properties().Rebase,
	})
	require.NoError(t, err)
	require.NoError(t, c.s.Create(t.Context(), "fresh", ""))
	return c
}

func (c *crashStore) start(t *testing.T) {
	c.fault = &fault{}
	s, err := Open(context.Background(), c.root, Options{open: c.fault.wrap(c.open), hook: c.fault.step})
	require.NoError(t, err)
	c.s = s
}

// kill ends the process: everything that it has open is closed, and it does
// nothing else.
func (c *crashStore) kill(t *testing.T) {
	c.fault.mu.Lock()
	c.fault.dead = true
	c.fault.mu.Unlock()
	require.NoError(t, c.s.Close())
}

// eachDriver runs test with the fake and with every backend, in a directory
// that the backend works on.
func eachDriver(t *testing.T, test func(t *testing.T, dir string, newDriver func() openDriver)) {
	t.Run("fake", func(t *testing.T) { test(t, memDir(t), func() openDriver { return newFakeDisk().open }) })
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			test(t, alltest.Place(t, memDir(t), name), func() openDriver { return realDriver(name) })
		})
	}
}

// eachFault runs test once for every step of the call of every case, on every
// driver. Each run has its own store.
func eachFault(t *testing.T, dying bool, test func(t *testing.T, c *crashStore, cc crashCase, err error)) {
	eachDriver(t, func(t *testing.T, dir string, newDriver func() openDriver) {
		for _, cc := range crashCases {
			t.Run(cc.name, func(t *testing.T) {
				step := 1
				if testing.Short() { // a random sample
					step = 4
				}
				for at := rand.IntN(step); failAt(t, dir, newDriver(), cc, at, dying, test); at += step {
				}
			})
		}
	})
}

// failAt reports whether the driver supports the call, and the call has a step
// with this number.
func failAt(t *testing.T, dir string, open openDriver, cc crashCase, at int, dying bool,
	test func(t *testing.T, c *crashStore, cc crashCase, err error),
) bool {
	c := newCrashStore(t, dir, open)
	if cc.needs != nil && !cc.needs(c.s.Driver()) {
		require.NoError(t, c.s.Close())
		return false
	}
	c.fault.arm(at, dying)
	err := cc.call(t.Context(), c.s)
	if !c.fault.fired() {
		require.NoError(t, err)
		require.True(t, at > 0 || testing.Short(), "the call has no step at all")
		require.NoError(t, c.s.Close())
		return false
	}
	t.Log("fails at: " + c.fault.trace())
	test(t, c, cc, err)
	return true
}

func TestACrashAtAnyStepLeavesEverySnapshotWholeOrAbsent(t *testing.T) {
	eachFault(t, true, func(t *testing.T, c *crashStore, cc crashCase, err error) {
		c.kill(t)
		c.start(t)
		defer func() { require.NoError(t, c.s.Close()) }()

		requireSound(t, c.s)
		rows := rowsOf(t, c.s)
		if err == nil && cc.name != "apply" && cc.name != "renew" {
			require.True(t, cc.done(rows), "a call that reported success took effect")
		}
		requireWhole(t, c.s)
		if !cc.done(rows) {
			requireRepeatable(t, c.s, cc)
		}
	})
}

func TestAFailureAtAnyStepLeavesTheStoreAsBefore(t *testing.T) {
	eachFault(t, false, func(t *testing.T, c *crashStore, cc crashCase, err error) {
		defer func() { require.NoError(t, c.s.Close()) }()
		if err == nil && strings.HasPrefix(cc.name, "rename") {
			// The rename took effect. Records of layers may contain the old name until the
			// store is opened again.
			require.True(t, cc.done(rowsOf(t, c.s)))
			require.NoError(t, c.s.Close())
			c.start(t)
			requireSound(t, c.s)
			requireWhole(t, c.s)
			return
		}
		if err == nil {
			// Only the row of a removed snapshot may stay until the store is opened again.
			require.True(t, strings.HasPrefix(cc.name, "remove"), "the failure was swallowed")
			_, err := c.s.Stat(t.Context(), map[bool]string{true: "leaf", false: "key"}[strings.Contains(cc.name, "committed")])
			require.ErrorIs(t, err, errdefs.ErrNotFound)
			return
		}
		require.ErrorIs(t, err, errInjected)
		require.False(t, cc.done(rowsOf(t, c.s)), "a call that reported a failure took effect")
		requireSound(t, c.s)
		requireWhole(t, c.s)
		requireRepeatable(t, c.s, cc)
	})
}

// requireRepeatable fails unless the call can be made again and then works.
func requireRepeatable(t *testing.T, s *Snapshotter, cc crashCase) {
	t.Helper()
	require.NoError(t, cc.call(t.Context(), s), "the interrupted call, made again")
	requireSound(t, s)
	requireWhole(t, s)
}

// requireWhole fails unless every snapshot has its content and the committed
// snapshots are sealed. A snapshot to which the call applied a layer must have
// all of the layer or nothing of it.
func requireWhole(t *testing.T, s *Snapshotter) {
	t.Helper()
	for name, row := range rowsOf(t, s) {
		if name == "alone" {
			continue // a driver may refuse to show it before it has its parent
		}
		files := filesOf(t, diffOf(t, s, name))
		switch name {
		case "new":
			require.Empty(t, files)
		case "fresh":
			require.Contains(t, []map[string]string{{}, {"applied": "applied"}}, files)
		case "committed":
			require.Contains(t, []map[string]string{{"key": "key"}, {"alone": "alone"}}, files)
		default:
			was := strings.TrimSuffix(name, " renamed")
			require.Equal(t, map[string]string{was: was}, files)
		}
		if row.Kind == meta.Committed {
			requireSealed(t, s, name, row)
		}
	}
}

func requireSealed(t *testing.T, s *Snapshotter, name string, row meta.Snapshot) {
	t.Helper()
	id := driver.ID("probe")
	require.NoError(t, s.driver.Create(t.Context(), id, []driver.ID{layerOf(row)}, driver.CreateOptions{}), "%q is sealed", name)
	require.NoError(t, s.driver.Remove(t.Context(), id))
}

func TestRecoveryKeepsLayersThatNoRowNamesAndSaysSo(t *testing.T) {
	disk := newFakeDisk()
	root := memDir(t)
	s, err := Open(t.Context(), root, Options{open: disk.open})
	require.NoError(t, err)
	commit(t, s, "base", "", "base")
	base := layerOf(rowsOf(t, s)["base"])
	require.NoError(t, s.Close())
	disk.layers["orphan"] = &fakeLayer{content: []byte("mine")}
	disk.layers["7"] = &fakeLayer{sealed: true, content: []byte("mine")}
	disk.trash = 3

	var said bytes.Buffer
	s = openAt(t, root, Options{open: disk.open, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	s.bg.wait()
	layers, err := s.driver.Layers(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []driver.ID{base, "orphan", "7"}, layers)
	require.Zero(t, disk.trash)
	require.Contains(t, said.String(), "layer=7")
	require.Contains(t, said.String(), "layer=orphan")

	for i := range 9 { // none of them may get the ID of an existing layer
		require.NoError(t, s.Create(t.Context(), fmt.Sprint("key", i), "base"))
	}
	require.Equal(t, "mine", string(disk.layers["7"].content))
}

// A layer that is copied in while the store is open has an ID that was not
// given yet. A new layer must not replace it.
func TestALayerInTheWayOfANewOneStays(t *testing.T) {
	s, disk := openFake(t)
	sc := rereading(t, s)
	commit(t, s, sc.Full("base"), "", "base")
	require.NoError(t, extract(t, sc, "extract-1", needy))
	next := func() driver.ID { // the ID that the next layer will get
		n := 0
		for _, row := range rowsOf(t, s) {
			i, err := strconv.Atoi(row.Layer)
			require.NoError(t, err)
			n = max(n, i)
		}
		return driver.ID(strconv.Itoa(n + 1))
	}
	for name, call := range map[string]func() error{
		"make":   func() error { return s.Create(t.Context(), "new", "") },
		"remake": func() error { return sc.Commit(t.Context(), "top", "extract-1", snapshots.WithParent("base")) },
	} {
		t.Run(name, func(t *testing.T) {
			before, id := rowsOf(t, s), next()
			disk.layers[id] = &fakeLayer{content: []byte("mine"), sealed: true}
			err := call()
			require.ErrorIs(t, err, errTaken)
			require.ErrorIs(t, err, errdefs.ErrUnavailable)
			require.NotErrorIs(t, err, errdefs.ErrAlreadyExists, "an engine would take that for success")
			require.Equal(t, before, rowsOf(t, s))
			require.Equal(t, "mine", string(disk.layers[id].content))
			delete(disk.layers, id)
			require.NoError(t, call())
			requireSound(t, s)
		})
	}
}

func TestRecoveryKeepsTheRowOfAMissingLayerAndItCanBeRemoved(t *testing.T) {
	disk := newFakeDisk()
	root := memDir(t)
	s, err := Open(t.Context(), root, Options{open: disk.open})
	require.NoError(t, err)
	commit(t, s, "base", "", "base")
	require.NoError(t, s.Close())
	clear(disk.layers)

	s = openAt(t, root, Options{open: disk.open})
	require.Equal(t, []string{"base"}, namesOf(t, s))
	_, err = s.Prepare(t.Context(), "key", "base")
	require.ErrorIs(t, err, ErrLayerDamaged)
	require.NoError(t, s.Remove(t.Context(), "base"))
	requireSound(t, s)
}
