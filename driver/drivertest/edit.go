package drivertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// edits reports whether layers can be edited as through a mount: through one,
// or with the editor that stands for it.
func (s *suite) edits() bool {
	if !s.props.MountsWritable {
		return s.Editor != nil
	}
	return s.can.mounts
}

// needMounts skips a test that needs a writable mount.
func (s *suite) needMounts(t testing.TB) {
	t.Helper()
	if !s.can.mounts {
		t.Skip("mounting is not permitted here")
	}
	if !s.props.MountsWritable {
		t.Skip("this backend cannot mount writable layers here: Properties.MountsWritable")
	}
}

// needEdits skips a test that edits a layer as through a mount.
func (s *suite) needEdits(t testing.TB) {
	t.Helper()
	if !s.edits() {
		s.needMounts(t)
	}
}

// An editError says which edit failed, and how.
type editError struct {
	edit fstest.Edit
	err  error
}

func (e *editError) Error() string { return fmt.Sprintf("edit %s: %v", e.edit, e.err) }
func (e *editError) Unwrap() error { return e.err }

// applyAll makes edits, until one fails. What a file was linked to is touched
// without a change: through aufs a new name for a file of the parents is only a
// pseudo-link until then, which ends with the mount. Elsewhere this does
// nothing.
func applyAll(e Editor, edits []fstest.Edit) error {
	for _, edit := range edits {
		err := e.Apply(edit)
		if err == nil && edit.Op == fstest.OpLink {
			err = e.Apply(fstest.CopyUp(edit.To))
		}
		if err != nil {
			return &editError{edit, err}
		}
	}
	return nil
}

// mountEditor edits a mounted tree.
type mountEditor struct{ times *fstest.DirTimes }

func newMountEditor(root string) mountEditor { return mountEditor{fstest.MountTimes(root)} }

// keepTimes makes directories keep their times, whoever changes them.
func (m mountEditor) keepTimes() mountEditor {
	m.times.All = true
	return m
}

func (m mountEditor) Apply(e fstest.Edit) error {
	return m.times.Apply(e, func(e fstest.Edit) error { return e.Apply(m.times.Root) })
}

// tryEdit makes edits in one writable mount of the layer, or with one Editor.
func (st *store) tryEdit(id driver.ID, edits ...fstest.Edit) error {
	st.t.Helper()
	if !st.props.MountsWritable && st.Editor != nil {
		return applyAll(st.Editor(st.dir, id, st.parents[id]), edits)
	}
	mounts, err := st.d.Mount(st.ctx(), id, driver.MountOptions{})
	require.NoError(st.t, err, "mounts of %s", id)
	err = st.mounter().WithTemp(st.ctx(), mounts, func(root string) error { return applyAll(newMountEditor(root), edits) })
	var failed *editError
	if err != nil && !errors.As(err, &failed) {
		require.NoError(st.t, err, "with %s mounted", id)
	}
	return err
}

// edit makes edits in one writable mount of the layer, or with one Editor.
func (st *store) edit(id driver.ID, edits ...fstest.Edit) {
	st.t.Helper()
	require.NoError(st.t, st.tryEdit(id, edits...))
}

// createView makes a view and remembers that it cannot be written to.
func (st *store) createView(id driver.ID, parents ...driver.ID) {
	st.t.Helper()
	require.NoError(st.t, st.d.Create(st.ctx(), id, parents, driver.CreateOptions{View: true}), "create the view %s", id)
	st.readOnly[id] = true
}

// mountsOf returns the mounts of a layer; ok is false where there are none: the
// layer is writable, and the backend says that it cannot mount such.
func (st *store) mountsOf(id driver.ID, opts driver.MountOptions) (mounts []mount.Mount, ok bool) {
	st.t.Helper()
	m, err := st.d.Mount(st.ctx(), id, opts)
	if !st.props.MountsWritable && !st.readOnly[id] {
		require.ErrorIs(st.t, err, driver.ErrUnsupported, "mounts of %s, which is writable", id)
		return nil, false
	}
	require.NoError(st.t, err, "mounts of %s", id)
	return m, true
}

// remember keeps what the suite has to know of a layer that it created.
func (st *store) remember(id driver.ID, parents []driver.ID) {
	st.parents[id] = slices.Clone(parents)
	delete(st.readOnly, id)
}
