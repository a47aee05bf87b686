package drivertest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

func (s *suite) testWriters(t *testing.T) {
	t.Run("nobody writes to a layer that is not mounted", s.noWriters)
	t.Run("a copy of the mount in another mount namespace", s.copyElsewhere)
	t.Run("a file that is open in another mount namespace", s.writerElsewhere)
	t.Run("a container that still runs", s.containerElsewhere)
	t.Run("a file that is open through a mount that is gone", s.writerUnmounted)
	t.Run("nothing is applied while somebody can write elsewhere", s.appliedElsewhere)
}

// finder returns the driver as one that finds writers, which every backend is.
func (st *store) finder() driver.WriterFinder {
	st.t.Helper()
	return optional[driver.WriterFinder](st)
}

// mountWritable mounts a writable layer.
func (st *store) mountWritable(id driver.ID) (target string) {
	st.t.Helper()
	mounts, ok := st.mountsOf(id, driver.MountOptions{})
	if !ok {
		st.t.Skip("the backend mounts no writable layers here")
	}
	return st.mountAt(mounts)
}

// mountAt mounts what is unmounted at the latest when the test ends.
func (st *store) mountAt(mounts []mount.Mount) (target string) {
	st.t.Helper()
	target = st.t.TempDir()
	require.NoError(st.t, st.mounter().All(st.ctx(), mounts, target))
	st.t.Cleanup(func() {
		if err := mount.Unmount(target); err != nil && !errors.Is(err, mount.ErrNotMounted) {
			st.t.Error(err)
		}
	})
	return target
}

func (s *suite) noWriters(t *testing.T) {
	s.needEdits(t)
	st := s.open(t)
	chain := st.layer("base", nil, File("f", "f"))
	st.create("never", chain...)
	require.NoError(t, st.finder().NoWriters(t.Context(), "never"))
	st.create("once", chain...)
	st.edit("once", Append("f", "!"))
	files := st.countFiles()
	for range 2 {
		require.NoError(t, st.finder().NoWriters(t.Context(), "once"))
	}
	require.Equal(t, files, st.countFiles(), "looking leaves nothing")
	st.seal("once")
	require.Equal(t, []string{"f:f!"}, st.tree("once").Brief())
	if mounts, ok := st.mountsOf("once", driver.MountOptions{}); ok {
		target := st.mountAt(mounts)
		Elsewhere(t, "")
		require.NoError(t, mount.Unmount(target))
		require.NoError(t, st.finder().NoWriters(t.Context(), "once"), "a mount that is read-only")
	}
}

// copyElsewhere has a mount that nobody uses in another namespace. It must not
// keep a snapshot from being committed, and nobody may write through it then.
func (s *suite) copyElsewhere(t *testing.T) {
	s.needEdits(t)
	st := s.open(t)
	chain := st.layer("base", nil, File("f", "f"))
	st.create("w", chain...)
	// The directory stays: without it the kernel would unmount the copy.
	target := st.mountWritable("w")
	pid, end := Elsewhere(t, "")
	errWrite := os.WriteFile(filepath.Join(target, "g"), []byte("g"), 0o600)
	require.NoError(t, mount.Unmount(target))
	require.NoError(t, errWrite)
	for range 2 {
		require.NoError(t, st.finder().NoWriters(t.Context(), "w"))
	}
	st.seal("w")
	out, err := exec.Command("nsenter", "--mount", "--target", strconv.Itoa(pid), "touch", filepath.Join(target, "late")).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "Read-only file system")
	end()
	require.Equal(t, []string{"f:f", "g:g"}, st.tree("w").Brief())
}

func (s *suite) writerElsewhere(t *testing.T) {
	s.needEdits(t)
	waitsForWriter(t)
	st := s.open(t)
	st.create("w")
	target := st.mountWritable("w")
	_, end := Elsewhere(t, "exec 3>'"+filepath.Join(target, "held")+"'")
	require.NoError(t, mount.Unmount(target))
	st.requireWriter("w")
	end()
	require.NoError(t, st.finder().NoWriters(t.Context(), "w"))
	st.seal("w")
	require.Equal(t, []string{"held:"}, st.tree("w").Brief())
}

// containerElsewhere has a process whose root directory is the layer, and no
// file open.
func (s *suite) containerElsewhere(t *testing.T) {
	s.needEdits(t)
	st := s.open(t)
	st.create("w")
	target := st.mountWritable("w")
	require.NoError(t, os.Mkdir(filepath.Join(target, "old"), 0o755))
	_, end := Elsewhere(t, "cd '"+target+"'; pivot_root . old; cd /")
	require.NoError(t, mount.Unmount(target))
	st.requireWriter("w")
	end()
	require.NoError(t, st.finder().NoWriters(t.Context(), "w"))
	st.seal("w")
}

// waitsForWriter skips in short mode what waits until a writer has had time to
// end, when another test does the same.
func waitsForWriter(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in short mode: it waits for seconds, and a container that still runs is a writer, too")
	}
}

func (st *store) requireWriter(id driver.ID) {
	st.t.Helper()
	err := st.finder().NoWriters(st.ctx(), id)
	require.ErrorIs(st.t, err, driver.ErrBusy)
	require.Regexp(st.t, `process [0-9]+ \(sh\)`, err.Error())
}

func (s *suite) writerUnmounted(t *testing.T) {
	s.needEdits(t)
	waitsForWriter(t)
	st := s.open(t)
	if !st.finder().SeesUnmounted() {
		t.Skip("the driver does not see files that are open through a mount that is gone")
	}
	st.create("w")
	target := st.mountWritable("w")
	f, err := os.Create(filepath.Join(target, "f"))
	if CanOwn(t, st.dir) { // a container's files are not all root's
		err = errors.Join(err, f.Chown(1000, 1000))
	}
	out, errUnmount := exec.Command("umount", "-l", target).CombinedOutput()
	require.NoError(t, errUnmount, string(out))
	require.NoError(t, err)
	require.ErrorIs(t, st.finder().NoWriters(t.Context(), "w"), driver.ErrBusy)
	require.NoError(t, f.Close())
	require.NoError(t, st.finder().NoWriters(t.Context(), "w"))
	st.seal("w")
}

// appliedElsewhere has a process that keeps the layer mounted while something
// is to be applied to it, and then a copy of the mount that nobody uses.
func (s *suite) appliedElsewhere(t *testing.T) {
	s.needEdits(t)
	waitsForWriter(t)
	st := s.open(t)
	chain := st.layer("base", nil, Dir("d"), File("d/f", "f"))
	st.create("w", chain...)
	layer := Layer(t, File("new", "new"), Whiteout("d/f"))
	target := st.mountWritable("w")
	_, end := Elsewhere(t, "exec 3>'"+filepath.Join(target, "held")+"'")
	pid, endCopy := Elsewhere(t, "")
	require.NoError(t, mount.Unmount(target))
	err := st.applyBytes("w", layer, driver.ApplyOptions{})
	require.ErrorIs(t, err, driver.ErrBusy)
	require.Regexp(t, `process [0-9]+ \(sh\)`, err.Error())
	require.Equal(t, []string{"d/", "d/f:f", "held:"}, st.tree("w").Brief(), "it is as before")
	end()

	require.NoError(t, st.applyBytes("w", layer, driver.ApplyOptions{}))
	out, err := exec.Command("nsenter", "--mount", "--target", strconv.Itoa(pid), "touch", filepath.Join(target, "late")).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "Read-only file system")
	endCopy()
	st.seal("w")
	require.Equal(t, []string{"d/", "held:", "new:new"}, st.tree("w").Brief())
}
