package aufs

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

func foreignIDs(t *testing.T, s *store) []driver.ID {
	t.Helper()
	list, err := s.foreign(t.Context())
	require.NoError(t, err)
	var ids []driver.ID
	for _, f := range list {
		ids = append(ids, f.ID)
	}
	return ids
}

func TestLayersOfAnotherEngineAreListedParentsFirst(t *testing.T) {
	dir := t.TempDir()
	// Layers as another engine leaves them: a base, an image, and a container with
	// its init layer.
	base, image := driver.ID(strings.Repeat("f", 64)), driver.ID(strings.Repeat("0", 64))
	foreignLayer(t, dir, "c0ffee-init", image, base)
	foreignLayer(t, dir, "c0ffee", "c0ffee-init", image, base)
	foreignLayer(t, dir, image, base)
	foreignLayer(t, dir, base)
	s := openTest(t, dir)
	require.NoError(t, makeLayer(s, "ours", layerdir.Meta{}))

	list, err := s.foreign(t.Context())
	require.NoError(t, err)
	require.Equal(t, []driver.Foreign{
		{ID: base},
		{ID: image, Parents: []driver.ID{base}},
		{ID: "c0ffee-init", Parents: []driver.ID{image, base}},
		{ID: "c0ffee", Parents: []driver.ID{"c0ffee-init", image, base}},
	}, list)
	own, err := s.List()
	require.NoError(t, err)
	require.Equal(t, []driver.ID{"ours"}, own)
	m, err := s.Load("c0ffee")
	require.NoError(t, err)
	require.True(t, m.Sealed)
	require.Equal(t, []driver.ID{"c0ffee-init", image, base}, m.Parents)
	_, err = s.Writable("c0ffee")
	require.ErrorIs(t, err, driver.ErrSealed)
	require.ErrorIs(t, makeLayer(s, "c0ffee", layerdir.Meta{}), driver.ErrExists)
}

// leftovers are files in a store that are not a layer, or not a usable one. log
// is part of the expected log message; it is empty if nothing is logged.
func leftovers() []struct {
	name, log string
	make      func(t *testing.T, dir string)
} {
	write := func(name, content string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		}
	}
	mkdir := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755)) }
	}
	both := func(fns ...func(t *testing.T, dir string)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, fn := range fns {
				fn(t, dir)
			}
		}
	}
	layer := func(id driver.ID, parents ...driver.ID) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { foreignLayer(t, dir, id, parents...) }
	}
	return []struct {
		name, log string
		make      func(t *testing.T, dir string)
	}{
		{"a branch whose removal was interrupted", "", both(mkdir("diff/x-removing"), mkdir("mnt/x-removing"))},
		{"a branch that has no file yet", "", mkdir("diff/x")},
		{"a file whose branch is gone", "", write("layers/x", "base\n")},
		{"an ID that is none", "", both(write("layers/.wh..wh.x", ""), mkdir("diff/.wh..wh.x"))},
		{"an ID with a newline", "", both(write("layers/a\nb", ""), mkdir("diff/a\nb"))},
		{"a parent that is missing", "missing", layer("x", "gone")},
		{"a parent that leads elsewhere", "among its parents", layer("x", "../../etc")},
		{"a parent that is hidden", "among its parents", layer("x", ".layerkeep")},
		{"a very long line", "among its parents", layer("x", driver.ID(strings.Repeat("x", 10_000)))},
		{"a binary file", "among its parents", both(write("layers/x", "\x00\xff\x7fELF"), mkdir("diff/x"))},
		{"a huge file", "more than", both(write("layers/x", strings.Repeat("base\n", 20_000)), mkdir("diff/x"))},
		{"a layer that is its own parent", "twice", layer("x", "x")},
		{"a parent that comes twice", "twice", layer("x", "base", "base")},
		{"two layers that are each other's parents", "none that can be used", both(layer("x", "y"), layer("y", "x"))},
		{"three layers in a circle", "none that can be used", both(layer("x", "y", "z"), layer("y", "z", "x"), layer("z", "x", "y"))},
		{"a chain that leaves out a layer", "not those", both(layer("mid", "base"), layer("x", "mid"))},
		{"a link in place of a branch", "no directory", both(write("layers/x", ""), func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("/etc", dir+"/diff/x"))
		})},
		{"a file in place of a branch", "no directory", both(write("layers/x", ""), write("diff/x", ""))},
		{"a link in place of a parent's branch", "no directory", both(layer("x", "y"), func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("/etc", dir+"/diff/y"))
		})},
		{"a link in place of a file", "symbolic link", both(mkdir("diff/x"), func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("/etc/hostname", dir+"/layers/x"))
		})},
		{"a pipe in place of a file", "no regular file", both(mkdir("diff/x"), func(t *testing.T, dir string) {
			require.NoError(t, unix.Mkfifo(dir+"/layers/x", 0o600))
		})},
		{"a directory in place of a file", "no regular file", both(mkdir("diff/x"), mkdir("layers/x"))},
	}
}

func TestWhatIsNoWholeLayerIsPassedOver(t *testing.T) {
	for _, c := range leftovers() {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			foreignLayer(t, dir, "base")
			c.make(t, dir)
			before := places(t, dir)
			var log bytes.Buffer
			s, err := openStore(dir, driver.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })

			ids := foreignIDs(t, s)
			require.Contains(t, ids, driver.ID("base"), "the good one is there")
			require.NotContains(t, ids, driver.ID("x"))
			require.Equal(t, c.log == "", log.Len() == 0, "%s", &log)
			require.Contains(t, log.String(), c.log)

			require.NoError(t, s.recover(t.Context()))
			require.NoError(t, s.records.Cleanup(t.Context()))
			require.Subset(t, places(t, dir), before, "nothing of it was touched")
		})
	}
}

func TestOnlyALayerIsRemoved(t *testing.T) {
	dir := t.TempDir()
	foreignLayer(t, dir, "x")
	require.NoError(t, os.Remove(dir+"/layers/x"))
	s := openTest(t, dir)
	require.NoError(t, s.RemoveIdle("x"))
	require.DirExists(t, dir+"/diff/x", "a branch that no file names is no layer")
}

func TestAHostileLayerIsRemovedWithoutFollowingLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(outside+"/precious", nil, 0o600))
	s := openTest(t, dir)
	for _, path := range []string{"diff/x", "mnt/x", "layers/x"} {
		require.NoError(t, os.Symlink(outside, filepath.Join(dir, path)))
	}
	require.NoError(t, s.RemoveIdle("x"))
	require.NoError(t, s.Close())
	require.FileExists(t, outside+"/precious")
	require.Equal(t, empty, places(t, dir))
}

func TestALayerInWhichSomethingIsMountedStays(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(outside+"/precious", nil, 0o600))
	foreignLayer(t, dir, "x")
	s := openTest(t, dir)
	for _, at := range []string{dir + "/diff/x/d", dir + "/mnt/x/d"} {
		require.NoError(t, os.MkdirAll(at, 0o755))
		if err := unix.Mount(outside, at, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("no permission to mount: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
		err := s.RemoveIdle("x")
		require.ErrorIs(t, err, driver.ErrBusy)
		require.ErrorContains(t, err, at)
		require.NoError(t, unix.Unmount(at, 0))
	}
	// A symbolic link out of the store. Mounts at its target do not matter.
	require.NoError(t, os.RemoveAll(dir+"/diff/x"))
	require.NoError(t, os.Symlink("/", dir+"/diff/x"))
	require.NoError(t, s.RemoveIdle("x"))
	require.NoError(t, s.Close())
	require.FileExists(t, outside+"/precious")
}

func TestALayerMayStandOnOneOfAnotherEngine(t *testing.T) {
	dir := t.TempDir()
	foreignLayer(t, dir, "base")
	foreignLayer(t, dir, "image", "base")
	s := openTest(t, dir)
	_, err := s.CheckParents([]driver.ID{"image", "base"})
	require.NoError(t, err)
	require.NoError(t, makeLayer(s, "1", layerdir.Meta{Parents: []driver.ID{"image", "base"}}))
	text, err := os.ReadFile(dir + "/layers/1")
	require.NoError(t, err)
	require.Equal(t, "image\nbase\n", string(text), "the classic form")
	require.Equal(t, []driver.ID{"base", "image"}, foreignIDs(t, s), "ours is not taken for foreign")
}
