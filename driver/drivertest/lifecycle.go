package drivertest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

func (s *suite) testLifeCycle(t *testing.T) {
	t.Run("an empty layer is an empty directory", s.emptyLayer)
	t.Run("an ID that is no file name is refused everywhere", s.invalidIDs)
	t.Run("a missing layer is ErrNotFound everywhere", s.missingLayer)
	t.Run("Create says what is wrong and leaves nothing", s.createErrors)
	t.Run("a sealed layer refuses changes", s.sealed)
	t.Run("a view shows its parents and takes no changes", s.view)
	t.Run("layers survive closing and opening the driver", s.reopen)
	t.Run("Remove frees the ID at once and Cleanup the disk", s.remove)
	t.Run("a second layer is applied over what the first left", s.applyTwice)
	t.Run("Detached is for an empty layer without parents", s.detachedMisuse)
	t.Run("Rebase says what is wrong and leaves the layer", s.rebaseErrors)
	t.Run("a cancelled context stops work and leaves nothing", s.cancelled)
	t.Run("Mount is repeatable and has no side effects", s.mountTwice)
	t.Run("what was written through a mount is in the layer", s.writeThroughMount)
	t.Run("read-only mounts refuse writes", s.readOnlyMounts)
}

func (s *suite) emptyLayer(t *testing.T) {
	st := s.open(t)
	st.requireLayers()
	st.create("a")
	st.requireLayers("a")
	tree := st.tree("a")
	require.Len(t, tree, 1)
	require.Equal(t, "0755 0:0 0.000000000", tree["."].Attrs())
	requireStream(t, nil, st.diff("a"))
	st.seal("a")
	require.Equal(t, tree, st.tree("a"))
}

// calls are all calls that take an ID, by name.
func (st *store) calls() map[string]func(id driver.ID) error {
	ctx := st.ctx()
	calls := map[string]func(id driver.ID) error{
		"Mount": func(id driver.ID) error { _, err := st.d.Mount(ctx, id, driver.MountOptions{}); return err },
		"ApplyDiff": func(id driver.ID) error {
			_, err := st.d.ApplyDiff(ctx, id, strings.NewReader(""), driver.ApplyOptions{})
			return err
		},
		"Diff": func(id driver.ID) error {
			_, err := driver.Diff(ctx, st.d, id, &bytes.Buffer{}, driver.DiffOptions{})
			return err
		},
		"Changes": func(id driver.ID) error {
			for _, err := range driver.Changes(ctx, st.d, id, nil) {
				return err
			}
			return nil
		},
		"View":  func(id driver.ID) error { _, err := st.d.View(ctx, id); return err },
		"Seal":  func(id driver.ID) error { return st.d.Seal(ctx, id) },
		"Usage": func(id driver.ID) error { _, err := st.d.Usage(ctx, id); return err },
	}
	if r, ok := st.d.(driver.Rebaser); ok {
		calls["Rebase"] = func(id driver.ID) error { return r.Rebase(ctx, id, nil) }
	}
	if e, ok := st.d.(driver.Explainer); ok {
		calls["Provider"] = func(id driver.ID) error { _, err := e.Provider(ctx, id, "."); return err }
	}
	return calls
}

func (s *suite) invalidIDs(t *testing.T) {
	st := s.open(t)
	calls := st.calls()
	calls["Create"] = func(id driver.ID) error { return st.d.Create(t.Context(), id, nil, driver.CreateOptions{}) }
	calls["Remove"] = func(id driver.ID) error { return st.d.Remove(t.Context(), id) }
	for name, call := range calls {
		for _, id := range []driver.ID{"", ".", "..", ".hidden", "a/b", "../x", "a b", "ü", driver.ID(strings.Repeat("x", 129))} {
			require.ErrorIs(t, call(id), driver.ErrInvalidID, "%s(%q)", name, id)
		}
	}
	require.ErrorIs(t, st.d.Create(t.Context(), "ok", []driver.ID{"../x"}, driver.CreateOptions{}), driver.ErrInvalidID)
	longest := driver.ID(strings.Repeat("x", 128))
	st.create(longest)
	st.create("A.b_c-9")
	st.requireLayers(longest, "A.b_c-9")
}

func (s *suite) missingLayer(t *testing.T) {
	st := s.open(t)
	for name, call := range st.calls() {
		require.ErrorIs(t, call("none"), driver.ErrNotFound, name)
	}
	require.NoError(t, st.d.Remove(t.Context(), "none"), "Remove is idempotent")
}

func (s *suite) createErrors(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, File("f", "f"))
	st.create("open", chain...)
	before := st.countFiles()
	create := func(id driver.ID, parents ...driver.ID) error {
		return st.d.Create(t.Context(), id, parents, driver.CreateOptions{})
	}
	require.ErrorIs(t, create("base"), driver.ErrExists)
	require.ErrorIs(t, create("open", chain...), driver.ErrExists)
	require.ErrorIs(t, create("n", "none"), driver.ErrNotFound)
	require.ErrorIs(t, create("n", "base", "none"), driver.ErrNotFound)
	require.ErrorIs(t, create("n", "open", "base"), driver.ErrNotSealed)
	require.Error(t, st.d.Create(t.Context(), "n", nil, driver.CreateOptions{View: true}), "a view needs a parent")
	st.requireLayers("base", "open")
	require.Equal(t, before, st.countFiles(), "files in the store after refused calls")
}

func (s *suite) sealed(t *testing.T) {
	st := s.open(t)
	st.layer("a", nil, File("f", "f"))
	want, diff := st.tree("a"), st.diff("a")
	require.ErrorIs(t, st.apply("a", File("g", "g")), driver.ErrSealed)
	require.NoError(t, st.d.Seal(t.Context(), "a"), "Seal is idempotent")
	if r, ok := st.d.(driver.Rebaser); ok {
		require.ErrorIs(t, r.Rebase(t.Context(), "a", nil), driver.ErrSealed)
	}
	require.Equal(t, want, st.tree("a"))
	require.Equal(t, diff, st.diff("a"))
}

func (s *suite) view(t *testing.T) {
	st := s.open(t)
	chain := st.layer("a", nil, File("f", "f"), Dir("d"), File("d/x", "x"))
	chain = st.layer("b", chain, Whiteout("d/x"), File("g", "g"))
	st.createView("v", chain...)
	st.createView("w", chain[1:]...)
	st.requireTree(st.tree("b"), "v", "a view of two layers")
	st.requireTree(st.tree("a"), "w", "a view of one layer")
	require.ErrorIs(t, st.apply("v", File("n", "n")), driver.ErrSealed)
	require.ErrorIs(t, st.d.Seal(t.Context(), "v"), driver.ErrUnsupported)
	require.ErrorIs(t, st.d.Create(t.Context(), "n", append([]driver.ID{"v"}, chain...), driver.CreateOptions{}), driver.ErrNotSealed)
	requireStream(t, nil, st.diff("v"))
	require.NoError(t, st.d.Remove(t.Context(), "v"))
	st.requireLayers("a", "b", "w")
	st.requireTree(st.tree("b"), "b", "what the view showed")
}

func (s *suite) reopen(t *testing.T) {
	dir := s.freshDir(t)
	d, err := s.New(t.Context(), dir, s.Options)
	require.NoError(t, err)
	st := s.newStore(t, d, dir)
	chain := st.layer("a", nil, Dir("d"), File("d/x", "x"), File("f", "f"))
	st.create("b", chain...)
	st.mustApply("b", Whiteout("d/x"), File("g", "g"))
	require.NoError(t, d.Create(t.Context(), "v", chain, driver.CreateOptions{View: true}))
	want, diff := st.tree("b"), st.diff("b")
	require.NoError(t, d.Close())

	st = s.openAt(t, dir)
	st.requireLayers("a", "b", "v")
	require.Equal(t, want, st.tree("b"))
	require.Equal(t, diff, st.diff("b"))
	require.ErrorIs(t, st.apply("a"), driver.ErrSealed)
	require.ErrorIs(t, st.apply("v"), driver.ErrSealed)
	st.mustApply("b", File("h", "h"))
	st.seal("b")
	st.layer("c", append([]driver.ID{"b"}, chain...), Whiteout("h"))
	require.Equal(t, want, st.tree("c"))
}

func (s *suite) remove(t *testing.T) {
	st := s.open(t)
	st.layer("keep", nil, File("f", "f"))
	require.NoError(t, st.d.Cleanup(t.Context()))
	before := st.countFiles()
	st.layer("a", []driver.ID{"keep"}, Dir("d").WithMode(0o500), File("d/x", "x"), Dir("d/s"), File("d/s/y", "y"), Whiteout("f"))
	require.NoError(t, st.d.Remove(t.Context(), "a"))
	st.requireLayers("keep")
	_, err := st.d.View(t.Context(), "a")
	require.ErrorIs(t, err, driver.ErrNotFound)
	st.create("a")
	require.Len(t, st.tree("a"), 1, "a new layer of the same name is empty")
	require.NoError(t, st.d.Remove(t.Context(), "a"))
	require.NoError(t, st.d.Remove(t.Context(), "a"), "Remove is idempotent")
	require.NoError(t, st.d.Cleanup(t.Context()))
	require.NoError(t, st.d.Cleanup(t.Context()), "Cleanup is idempotent")
	require.Equal(t, before, st.countFiles(), "files in the store after Remove and Cleanup")
}

func (s *suite) applyTwice(t *testing.T) {
	st := s.open(t)
	chain := st.layer("a", nil, File("f", "f"), Dir("d"), File("d/x", "x"))
	st.create("b", chain...)
	st.mustApply("b", File("g", "g"), Whiteout("d/x"), File("d/y", "y"))
	st.mustApply("b", Whiteout("g"), File("d/x", "again"), Whiteout("f"), Opaque("d"))
	require.Equal(t, []string{"d/", "d/x:again"}, st.tree("b").Brief())
}

func (s *suite) detachedMisuse(t *testing.T) {
	st := s.open(t)
	chain := st.layer("a", nil, File("f", "f"))
	st.create("over", chain...)
	err := st.applyBytes("over", Layer(t, File("n", "n")), driver.ApplyOptions{Detached: true})
	require.Error(t, err, "a layer with parents")
	require.NotContains(t, st.tree("over"), "n")
	st.create("filled")
	st.mustApply("filled", File("x", "x"))
	require.Error(t, st.applyBytes("filled", Layer(t, File("n", "n")), driver.ApplyOptions{Detached: true}), "a layer that is not empty")
	require.Equal(t, []string{"x:x"}, st.tree("filled").Brief())
	if !s.props.Rebase {
		st.create("free")
		err := st.applyBytes("free", Layer(t, File("n", "n")), driver.ApplyOptions{Detached: true})
		require.ErrorIs(t, err, driver.ErrUnsupported)
	}
}

func (s *suite) rebaseErrors(t *testing.T) {
	if !s.props.Rebase {
		return
	}
	st := s.open(t)
	r := st.d.(driver.Rebaser)
	chain := st.layer("a", nil, Dir("real"), Symlink("s", "real"), File("file", "f"))
	st.create("open")
	st.create("b")
	require.NoError(t, st.applyBytes("b", Layer(t, File("s/x", "x")), driver.ApplyOptions{Detached: true}))
	require.ErrorIs(t, r.Rebase(t.Context(), "b", []driver.ID{"none"}), driver.ErrNotFound)
	require.ErrorIs(t, r.Rebase(t.Context(), "b", []driver.ID{"open"}), driver.ErrNotSealed)
	require.ErrorIs(t, r.Rebase(t.Context(), "b", chain), driver.ErrNeedsParents)
	st.layer("plain", nil, Dir("s").WithMode(0o700))
	require.NoError(t, r.Rebase(t.Context(), "b", []driver.ID{"plain"}), "after refused calls the layer is as it was")
	require.Equal(t, []string{"s/", "s/x:x"}, st.tree("b").Brief())
	require.Equal(t, uint32(0o700), st.tree("b")["s"].Perm())
	require.NoError(t, r.Rebase(t.Context(), "b", []driver.ID{"plain"}), "onto the same parents again")
	require.Error(t, r.Rebase(t.Context(), "b", chain), "onto others")
}

func (s *suite) cancelled(t *testing.T) {
	st := s.open(t)
	chain := st.layer("a", nil, File("f", "f"))
	st.create("b", chain...)
	want := st.tree("b")
	ctx, cancel := context.WithCancel(t.Context())
	// The stream is cancelled in its middle, by the reader itself.
	layer := Layer(t, File("one", strings.Repeat("1", 1<<16)), File("two", strings.Repeat("2", 1<<20)), File("three", "3"))
	_, err := st.d.ApplyDiff(ctx, "b", &cancelReader{data: layer, after: len(layer) / 2, cancel: cancel}, driver.ApplyOptions{})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, want, st.tree("b"))
	st.mustApply("b", File("n", "n"))
	require.ErrorIs(t, st.d.Create(ctx, "c", chain, driver.CreateOptions{}), context.Canceled)
	st.requireLayers("a", "b")
}

// cancelReader cancels a context after some bytes.
type cancelReader struct {
	data   []byte
	after  int
	cancel func()
}

func (r *cancelReader) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), 4096)], r.data)
	r.data = r.data[n:]
	if r.after -= n; r.after <= 0 {
		r.cancel()
	}
	if n == 0 {
		return 0, errors.New("read to the end in spite of the cancelled context")
	}
	return n, nil
}

// mountTwice asks for the same mounts twice, of every kind of layer.
func (s *suite) mountTwice(t *testing.T) {
	if !s.can.mounts {
		t.Skip("mounting is not permitted here")
	}
	st := s.open(t)
	chain := st.layer("sealed", nil, File("f", "f"))
	st.create("writable", chain...)
	st.createView("view", chain...)
	for _, id := range []driver.ID{"sealed", "writable", "view"} {
		for _, opts := range []driver.MountOptions{{}, {ReadOnly: true}, {Volatile: true}} {
			if id == "writable" && opts.ReadOnly && !s.props.MountsWritable {
				continue // not said by the contract
			}
			one, ok := st.mountsOf(id, opts)
			if !ok {
				continue
			}
			require.NotEmpty(t, one)
			files := st.countFiles()
			two, _ := st.mountsOf(id, opts)
			require.Equal(t, one, two)
			require.Equal(t, files, st.countFiles())
		}
	}
	if !s.props.MountsWritable {
		return
	}
	for range 2 { // a volatile mount must not refuse the next one
		st.mounted("writable", driver.MountOptions{Volatile: true}, func(root string) error {
			return os.WriteFile(filepath.Join(root, "v"), nil, 0o600)
		})
	}
	require.Contains(t, st.tree("writable"), "v")
	st.mounted("writable", driver.MountOptions{}, func(root string) error {
		return os.WriteFile(filepath.Join(root, "w"), nil, 0o600)
	})
	st.seal("writable")
	require.Contains(t, st.tree("writable"), "v")
	require.Contains(t, st.tree("writable"), "w")
}

func (s *suite) writeThroughMount(t *testing.T) {
	s.needEdits(t)
	st := s.open(t)
	chain := st.layer("a", nil, File("f", "f"), File("g", "g"))
	before := st.tree("a")
	st.create("b", chain...)
	st.edit("b", Append("f", "!"), Remove("g"), Mkdir("d"), Create("d/n", "n"))
	require.Equal(t, []string{"d/", "d/n:n", "f:f!"}, st.tree("b").Brief())
	written, tree := st.diff("b"), st.tree("b")
	st.seal("b")
	require.Equal(t, written, st.diff("b"), "sealing changes nothing")
	st.requireTree(tree, "b", "sealed")
	st.requireTree(before, "a", "the parent")
	st.layer("c", append([]driver.ID{"b"}, chain...), Whiteout("d"), File("g", "again"))
	require.Equal(t, []string{"f:f!", "g:again"}, st.tree("c").Brief())
	st.create("alone")
	st.edit("alone", Create("x", "x"), Mkdir("y"))
	require.Equal(t, []string{"x:x", "y/"}, st.tree("alone").Brief())
}

func (s *suite) readOnlyMounts(t *testing.T) {
	if !s.can.mounts {
		t.Skip("mounting is not permitted here")
	}
	st := s.open(t)
	chain := st.layer("a", nil, File("f", "f"))
	chain = st.layer("b", chain, File("g", "g"))
	st.create("writable", chain...)
	st.createView("view", chain...)
	refuses := func(root string) error {
		require.ErrorIs(t, os.WriteFile(filepath.Join(root, "n"), nil, 0o600), syscall.EROFS)
		require.ErrorIs(t, os.Chmod(filepath.Join(root, "f"), 0o600), syscall.EROFS)
		return nil
	}
	for _, id := range []driver.ID{"a", "b", "view"} {
		st.mounted(id, driver.MountOptions{}, refuses)
	}
	if s.props.MountsWritable {
		st.mounted("writable", driver.MountOptions{ReadOnly: true}, refuses)
	}
	for id, want := range map[driver.ID][]string{"a": {"f:f"}, "b": {"f:f", "g:g"}, "view": {"f:f", "g:g"}, "writable": {"f:f", "g:g"}} {
		st.requireTree(st.tree(id), id, "after refused writes")
		require.Equal(t, want, st.tree(id).Brief())
	}
}
