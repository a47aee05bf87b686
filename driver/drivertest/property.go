package drivertest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// ChecksEnv is the environment variable that says how many random stacks
// [RunProperties] checks; -rapid.checks does the same.
const ChecksEnv = "LAYERKEEP_PROPERTY_CHECKS"

// A Subject is one backend of the property tests.
type Subject struct {
	Name string
	Config
}

// subject is an open Subject.
type subject struct {
	name  string
	d     driver.Driver
	props driver.Properties
	mount mount.Mounter
	// editor stands for writable mounts where there are none.
	editor func(id driver.ID, parents []driver.ID) Editor
}

// RunProperties makes random stacks of layers and random edits on every subject
// and checks each against the model and against the others:
//
//   - the tree, through View and through a mount, is the model's, also after a
//     refused layer and for a layer that was unpacked detached and rebased;
//     where writable layers cannot be mounted, the sealed one is, and the edits
//     are made by the subject's Editor;
//   - the changes are the model's, and the bytes of the diff are the same on
//     every subject and in a second run;
//   - one subject's diff applied on another gives the same tree;
//   - sealing changes nothing.
//
// A subject without a Dir works on one scratch file system for the whole run,
// the first that its backend can live on.
//
// It needs mounts and files of other owners, and skips without.
func RunProperties(t *testing.T, subjects []Subject) {
	setChecks(t, len(subjects))
	if !fstest.CanMount(t) {
		t.Skip("random edits need mounts, which are not permitted here")
	}
	if !fstest.CanOwn(t, t.TempDir()) {
		t.Skip("random layers need files of other owners and devices, which are not permitted here")
	}
	var open []*subject
	var props []driver.Properties
	for _, s := range subjects {
		sub := openSubject(t, s)
		open = append(open, sub)
		props = append(props, sub.props)
	}
	base := commonRandom(props)
	for _, s := range open {
		// aufs parts the names of a file like a union file system, but for those
		// that are written to in one mount: these stay one file, and the model has
		// no such thing.
		if (s.editor != nil || s.props.MountTimes != 0) && base.breaksLinks {
			base.avoidLinks, base.breaksLinks = true, false
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		r := base
		r.T = rt
		run := &run{random: r, ctx: t.Context(), subjects: open}
		defer run.cleanup()
		run.stack()
	})
}

func openSubject(t testing.TB, s Subject) *subject {
	t.Helper()
	if s.Dir == "" {
		s.Dir = fstest.Scratch(t, s.filesystems(t)[0])
	}
	root := filepath.Join(s.Dir, "root")
	d, err := s.New(t.Context(), root, s.Options)
	require.NoError(t, err, s.Name)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	sub := &subject{
		name: s.Name, d: d, props: d.Properties(), mount: mount.Mounter{First: s.Options.Fallbacks.MountWay},
	}
	if !sub.props.MountsWritable {
		require.NotNil(t, s.Editor, "%s can neither mount writable layers nor has an editor", s.Name)
		sub.editor = func(id driver.ID, parents []driver.ID) Editor { return s.Editor(root, id, parents) }
	}
	return sub
}

// halfChecks is half of rapid's default.
const halfChecks = "50"

// setChecks sets rapid's flags: the number of checks from the environment, and
// no files in the source tree (the seed is printed). A subject by itself gets
// half of what several get, as it is among these too.
func setChecks(t *testing.T, subjects int) {
	t.Helper()
	require.NoError(t, flag.Set("rapid.nofailfile", "true"))
	checks, given := os.Getenv(ChecksEnv), flag.Lookup("rapid.checks")
	switch {
	case checks != "":
	case testing.Short():
		checks = "20"
	case given.Value.String() == given.DefValue || given.Value.String() == halfChecks:
		checks = map[bool]string{true: halfChecks, false: given.DefValue}[subjects == 1]
	}
	if checks != "" {
		require.NoError(t, flag.Set("rapid.checks", checks))
	}
}

// run is one random stack.
type run struct {
	random
	ctx      context.Context
	subjects []*subject
	// unmounted: nothing is mounted to be compared.
	unmounted bool
	// chain holds the sealed layers, nearest first; it is the same everywhere.
	chain []driver.ID
	log   []string
}

// fail ends the run with the whole story.
func (r *run) fail(format string, args ...any) {
	r.Helper()
	r.Fatalf("%s\nafter\n%s", fmt.Sprintf(format, args...), strings.Join(r.log, "\n"))
}

func (r *run) check(err error, format string, args ...any) {
	r.Helper()
	if err != nil {
		r.fail("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// cleanup removes all layers, children first.
func (r *run) cleanup() {
	for _, s := range r.subjects {
		layers, err := s.d.Layers(r.ctx)
		r.check(err, "%s: list", s.name)
		slices.Sort(layers)
		slices.Reverse(layers)
		for _, id := range layers {
			r.check(s.d.Remove(r.ctx, id), "%s: remove %s", s.name, id)
		}
	}
}

func (r *run) stack() {
	edited := true
	if r.plainEdits {
		edited = rapid.Bool().Draw(r.T, "edited")
		r.plain = edited
	}
	tree := model.New()
	if r.breaksLinks {
		tree.BreakHardlinks()
	}
	for i := range rapid.IntRange(1, 4).Draw(r.T, "layers") {
		parents := tree.Clone()
		id := layerID(i)
		r.log = append(r.log, fmt.Sprintf("layer %d:", i))
		r.each(func(s *subject) {
			r.check(s.d.Create(r.ctx, id, r.chain, driver.CreateOptions{}), "%s: create %s", s.name, id)
		})
		stream := r.apply(id, tree, r.layer(tree))
		if edited && rapid.Bool().Draw(r.T, "edit") {
			before := tree.Snapshot()
			r.edit(id, tree)
			r.verifyEdited(id, stream, before, tree.Snapshot())
		}
		r.compare(id, parents, tree)
		r.seal(id, tree)
		r.chain = slices.Insert(r.chain, 0, id)
		tree.Seal()
	}
}

// seal seals the layer everywhere and looks at it once more.
func (r *run) seal(id driver.ID, tree *model.Tree) {
	want := tree.Snapshot()
	r.each(func(s *subject) {
		before := r.diff(s, id)
		r.check(s.d.Seal(r.ctx, id), "%s: seal %s", s.name, id)
		after := r.diff(s, id)
		if !bytes.Equal(before, after) {
			r.fail("%s: the diff of %s is\n%s\nand sealed\n%s", s.name, id, r.listing(before), r.listing(after))
		}
		if s.editor != nil && !r.unmounted {
			r.check(s.compareMounted(r.ctx, id, want), "%s: %s mounted, sealed", s.name, id)
		}
	})
}

func (r *run) each(fn func(*subject)) {
	for _, s := range r.subjects {
		fn(s)
	}
}

// apply applies a layer everywhere, detached too where that can be done. It
// returns the stream, nil when that was refused.
func (r *run) apply(id driver.ID, tree *model.Tree, entries []fstest.Entry) []byte {
	before := tree.Snapshot()
	for _, e := range entries {
		r.log = append(r.log, "  "+e.String())
	}
	stream, err := fstest.Encode(entries)
	r.check(err, "encode the layer")
	modelErr := tree.Apply(entries)
	r.each(func(s *subject) {
		err := s.apply(r.ctx, id, stream, driver.ApplyOptions{})
		switch {
		case modelErr == nil:
			r.check(err, "%s: apply to %s", s.name, id)
		case !errors.Is(err, driver.ErrInvalidLayer):
			r.fail("%s: apply gives %v, the model %v", s.name, err, modelErr)
		default:
			r.compareTree(s, id, before, "after the refused layer")
			return
		}
		r.compareTree(s, id, tree.Snapshot(), "after applying")
		r.verify(s, id, stream, "after applying")
		if s.props.Rebase && len(r.chain) > 0 {
			r.rebase(s, id, stream, tree.Snapshot())
		}
	})
	if modelErr != nil {
		return nil
	}
	return stream
}

// rebase unpacks the same stream without its parents and compares.
func (r *run) rebase(s *subject, id driver.ID, stream []byte, want fstest.Tree) {
	tmp := id + "-detached"
	r.check(s.d.Create(r.ctx, tmp, nil, driver.CreateOptions{}), "%s: create %s", s.name, tmp)
	err := s.apply(r.ctx, tmp, stream, driver.ApplyOptions{Detached: true})
	if err == nil {
		err = s.d.(driver.Rebaser).Rebase(r.ctx, tmp, r.chain)
	}
	if !errors.Is(err, driver.ErrNeedsParents) {
		r.check(err, "%s: unpack %s detached", s.name, tmp)
		r.compareTree(s, tmp, want, "after Rebase")
		r.verify(s, tmp, stream, "after Rebase")
		if one, two := r.diff(s, id), r.diff(s, tmp); !bytes.Equal(one, two) {
			r.fail("%s: the diff of the rebased layer is\n%s\nand of the same in sequence\n%s", s.name, r.listing(two), r.listing(one))
		}
	}
	r.check(s.d.Remove(r.ctx, tmp), "%s: remove %s", s.name, tmp)
}

// edit makes random edits through mounts.
func (r *run) edit(id driver.ID, tree *model.Tree) {
	first := r.random
	if len(r.chain) == 0 {
		first.avoidLinks = false // there are no parents
	}
	edits := first.edits(tree)
	for _, e := range edits {
		r.log = append(r.log, "  "+e.String())
	}
	r.each(func(s *subject) {
		if s.editor != nil {
			r.check(applyAll(s.editor(id, r.chain), edits), "%s: edit %s", s.name, id)
			return
		}
		r.check(s.mounted(r.ctx, id, func(root string) error { return applyAll(newMountEditor(root).keepTimes(), edits) }), "%s: edit %s", s.name, id)
	})
}

// compare compares everything there is to know about a layer.
func (r *run) compare(id driver.ID, parents, tree *model.Tree) {
	want, changes := tree.Snapshot(), model.Diff(parents, tree)
	var stream []byte
	var from string
	r.each(func(s *subject) {
		r.compareTree(s, id, want, "the view")
		if s.editor == nil && !r.unmounted {
			r.check(s.compareMounted(r.ctx, id, want), "%s: %s mounted", s.name, id)
		}
		got, err := s.changes(r.ctx, id)
		r.check(err, "%s: changes of %s", s.name, id)
		if w, g := model.Format(changes), model.Format(got); w != g {
			r.fail("%s: changes of %s: want\n%s\ngot\n%s", s.name, id, w, g)
		}
		bytesNow := r.diff(s, id)
		if again := r.diff(s, id); !bytes.Equal(bytesNow, again) {
			r.fail("%s: two diffs of %s differ", s.name, id)
		}
		if stream == nil {
			stream, from = bytesNow, s.name
		}
		if !bytes.Equal(stream, bytesNow) {
			r.fail("the diff of %s has other bytes: %s\n%s\n%s\n%s", id, from, r.listing(stream), s.name, r.listing(bytesNow))
		}
	})
	want = withoutSockets(want)
	r.each(func(s *subject) {
		r.verify(s, id, stream, "against its own diff")
		again := id + "-again"
		r.check(s.d.Create(r.ctx, again, r.chain, driver.CreateOptions{}), "%s: create %s", s.name, again)
		r.check(s.apply(r.ctx, again, stream, driver.ApplyOptions{}), "%s: apply the diff of %s", s.name, from)
		r.compareTree(s, again, want, "the diff of "+from+" applied")
		if second := r.diff(s, again); !bytes.Equal(stream, second) {
			r.fail("%s: the diff of %s is\n%s\nand applied and diffed again\n%s", s.name, id, r.listing(stream), r.listing(second))
		}
		r.check(s.d.Remove(r.ctx, again), "%s: remove %s", s.name, again)
	})
}

func (r *run) compareTree(s *subject, id driver.ID, want fstest.Tree, what string) {
	r.Helper()
	v, err := s.d.View(r.ctx, id)
	r.check(err, "%s: view of %s", s.name, id)
	got, err := fstest.ReadView(v)
	r.check(errors.Join(err, v.Close()), "%s: view of %s", s.name, id)
	if d := fstest.Compare(want, got); d != "" {
		r.fail("%s: %s, %s:\n%s", s.name, id, what, d)
	}
}

func (r *run) diff(s *subject, id driver.ID) []byte {
	r.Helper()
	var buf bytes.Buffer
	_, err := driver.Diff(r.ctx, s.d, id, &buf, driver.DiffOptions{Warn: func(string, string) {}})
	r.check(err, "%s: diff of %s", s.name, id)
	return buf.Bytes()
}

func (r *run) listing(stream []byte) string {
	s, err := list(stream)
	r.check(err, "list a diff")
	return s
}

func (s *subject) apply(ctx context.Context, id driver.ID, stream []byte, opts driver.ApplyOptions) error {
	opts.Warn = func(string, string) {}
	_, err := s.d.ApplyDiff(ctx, id, bytes.NewReader(stream), opts)
	return err
}

func (s *subject) mounted(ctx context.Context, id driver.ID, fn func(root string) error) error {
	mounts, err := s.d.Mount(ctx, id, driver.MountOptions{})
	if err != nil {
		return err
	}
	return s.mount.WithTemp(ctx, mounts, fn)
}

func (s *subject) compareMounted(ctx context.Context, id driver.ID, want fstest.Tree) error {
	mounts, err := s.d.Mount(ctx, id, driver.MountOptions{})
	if err != nil {
		return err
	}
	return s.mount.WithTemp(ctx, mounts, func(root string) error {
		got, err := fstest.ReadPath(root)
		if err != nil {
			return err
		}
		if d := fstest.Compare(want, got); d != "" {
			return errors.New(d)
		}
		return nil
	})
}

func (s *subject) changes(ctx context.Context, id driver.ID) ([]model.Change, error) {
	var changes []model.Change
	for c, err := range driver.Changes(ctx, s.d, id, nil) {
		if err != nil {
			return nil, err
		}
		m, err := toModel(c)
		if err != nil {
			return nil, err
		}
		changes = append(changes, m)
	}
	return changes, nil
}
