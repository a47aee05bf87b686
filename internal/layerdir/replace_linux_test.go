package layerdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// sealed makes a sealed layer with one file that has the given body.
func sealed(t *testing.T, s *Store, id driver.ID, body string, parents ...driver.ID) {
	t.Helper()
	require.NoError(t, s.Create(id, Meta{Parents: parents, Sealed: true}, func(dir string) error {
		return errors.Join(os.Mkdir(dir+"/tree", 0o755), os.WriteFile(dir+"/tree/f", []byte(body), 0o600))
	}))
}

func (s *Store) body(t *testing.T, id driver.ID) string {
	t.Helper()
	raw, err := os.ReadFile(s.Path(id, "tree/f"))
	require.NoError(t, err)
	return string(raw)
}

// After every step, the layer is either the old one or the new one.
func TestALayerIsReplacedInOneStep(t *testing.T) {
	boom := errors.New("boom")
	for _, fail := range []int{0, 1, 2} { // which sync of the names fails; 0: none
		s := open(t)
		sealed(t, s, "a", "old")
		sealed(t, s, "made", "new")
		syncs := 0
		s.SettleWith(func(*os.File) error {
			body := s.body(t, "a")
			syncs++
			require.Equal(t, []string{"", "old", "new"}[syncs], body, "at sync %d", syncs)
			if syncs == fail {
				return boom
			}
			return nil
		})
		err := s.Replace("a", "made")
		switch fail {
		case 0:
			require.NoError(t, err)
			require.Equal(t, "new", s.body(t, "a"))
		case 1:
			require.ErrorIs(t, err, boom)
			require.Equal(t, "old", s.body(t, "a"))
			require.Equal(t, "new", s.body(t, "made"), "it can be removed")
		case 2:
			require.ErrorIs(t, err, boom, "which of the two a power cut leaves is not known")
		}
		require.NoError(t, s.Cleanup(t.Context()))
		ids, err := s.List()
		require.NoError(t, err)
		require.Contains(t, ids, driver.ID("a"))
	}
}

func TestAMountedLayerIsNotReplacedWhileItCanBeWritten(t *testing.T) {
	s := open(t)
	sealed(t, s, "a", "old")
	sealed(t, s, "made", "new")
	bindOutside(t, s.Path("a", "tree"))
	require.ErrorIs(t, s.Replace("a", "made"), driver.ErrBusy)
	ids, err := s.List()
	require.NoError(t, err)
	require.Equal(t, []driver.ID{"a", "made"}, ids)
}

func TestAStoreThatIsReadOnlyReplacesNothing(t *testing.T) {
	s := open(t)
	sealed(t, s, "a", "old")
	sealed(t, s, "made", "new")
	r, err := OpenReadOnly(s.Root())
	require.NoError(t, err)
	defer r.Close()
	require.ErrorIs(t, r.Replace("a", "made"), driver.ErrReadOnly)
}

func TestAnOverlayOfALayerIsRecognised(t *testing.T) {
	s := &Store{root: "/var/lib/layer keep/overlay2"}
	ids := []driver.ID{"7", "12"}
	const before = "60 25 0:51 / /mnt rw,relatime - "
	for line, want := range map[string]bool{
		before + `overlay /var/lib/layer\040keep/overlay2/7 ro,lowerdir=/x`:                                                 true,
		before + `overlay /var/lib/layer\040keep/overlay2/77 ro,lowerdir=/x`:                                                false,
		before + `overlay overlay ro,lowerdir=/var/lib/layer\040keep/overlay2/9/fs:/var/lib/layer\040keep/overlay2/7/fs`:    true,
		before + `overlay overlay rw,lowerdir=/var/lib/layer\040keep/overlay2/9/fs,upperdir=/store/overlay2/12/fs`:          true,
		before + `overlay overlay ro,lowerdir=9/fs:7/fs`:                                                                    true,
		before + `overlay overlay ro,lowerdir=9/fs:17/fs`:                                                                   false,
		before + `overlay overlay ro,lowerdir=/var/lib/docker/overlay2/l/7A:/var/lib/containerd/snapshots/7/fs,upperdir=/x`: false,
		before + `ext4 /dev/vda ro`: false,
	} {
		require.Equal(t, want, isUnionLine([]byte(line)) && s.namesOne(line, ids), line)
	}
}

// Layers of two stores can have the same names, and a node may have several
// stores.
func TestAnOverlayInAnotherStoreKeepsNoOldLayer(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a store/overlay2", "other/overlay2"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("a store", link))
	s := &Store{root: filepath.Join(dir, "a store/overlay2")}
	ours, other := inMountTable.Replace(s.root), dir+"/other/overlay2"
	for options, another := range map[string]bool{
		"overlay " + ours + "/7 ro,lowerdir=/x":                                          false,
		"overlay overlay ro,lowerdir=" + other + "/7/fs":                                 true,
		"overlay overlay ro,lowerdir=" + link + "/overlay2/7/fs":                         false,
		"overlay overlay ro,lowerdir=" + other + "/9/fs:" + other + "/7/fs":              true,
		"overlay overlay ro,lowerdir=" + other + "/9/fs:" + ours + "/7/fs":               false,
		"overlay overlay rw,lowerdir=7/fs,upperdir=" + other + "/9/fs":                   false,
		"overlay overlay rw,lowerdir=7/fs,upperdir=" + ours + "/9/fs":                    false,
		"overlay overlay ro,lowerdir=9/fs:7/fs":                                          false,
		"overlay overlay ro,lowerdir=" + dir + "/gone/overlay2/7/fs":                     false,
		"overlay " + ours + "/9 ro,lowerdir=x/overlay2/9/fs:other/overlay2/7/fs":         false,
		"overlay overlay ro,lowerdir=" + other + "/9/fs:" + dir + "/gone/overlay2/7/fs":  false,
		"overlay overlay ro,lowerdir=" + other + "/7/fs:" + dir + `/o\054/overlay2/7/fs`: false,
		"aufs none rw,si=1,br:" + other + "/7/fs=ro+wh":                                  true,
		"overlay " + other + "/7 ro,lowerdir=" + ours + "/7/fs":                          false,
		"overlay overlay ro,lowerdir=" + dir + `/o\134:ther/overlay2/7/fs:` + "/x/fs":    false,
	} {
		table := "60 25 0:51 / /mnt rw,relatime - " + options + "\n"
		require.Equal(t, !another, s.inTable([]byte(table), true, ".old-7-1", []driver.ID{"7"}), options)
		require.True(t, s.inTable([]byte(table), false, ".old-7-1", []driver.ID{"7"}), "in a container: %s", options)
		require.Equal(t, another, s.ofAnotherStore(table), options)
	}
	gone := &Store{root: filepath.Join(dir, "gone/overlay2")}
	require.False(t, gone.ofAnotherStore("- overlay overlay ro,lowerdir="+other+"/7/fs"), "what cannot be looked at may be ours")
	bind := "60 25 0:51 /other/overlay2/.old-7-1/fs /mnt rw,relatime - ext4 /dev/vda ro\n"
	require.True(t, s.inTable([]byte(bind), true, ".old-7-1", nil))
}

func TestNamesOfOldLayersAreRead(t *testing.T) {
	for name, want := range map[string]driver.ID{".old-7-123": "7", ".old-a-b.c-1": "a-b.c", ".old-7": "", ".old--1": "", ".new-7-1": "", "7": ""} {
		id, ok := oldOf(name)
		require.Equal(t, want != "", ok, name)
		require.Equal(t, want, id, name)
	}
}

// mountElsewhere binds a directory in a new mount namespace. end ends the
// namespace.
func mountElsewhere(t *testing.T, dir, options string) (end func()) {
	t.Helper()
	_, end = fstest.Elsewhere(t, fmt.Sprintf("mount --bind -o %s '%s' '%s'", options, dir, t.TempDir()))
	return end
}

// A container has its own mount namespace, and its mounts are not in the mount
// table of this process.
func TestAnOldLayerStaysWhileAnotherMountNamespaceHasIt(t *testing.T) {
	s := open(t)
	sealed(t, s, "a", "old")
	sealed(t, s, "made", "new")
	end := mountElsewhere(t, s.Path("a", "tree"), "ro")

	require.NoError(t, s.Replace("a", "made"))
	require.NoError(t, s.Cleanup(t.Context()))
	old, err := filepath.Glob(s.Root() + "/.old-*")
	require.NoError(t, err)
	require.Len(t, old, 1)
	require.FileExists(t, old[0]+"/tree/f")

	end()
	require.NoError(t, s.Cleanup(t.Context()))
	require.NoDirExists(t, old[0])
	require.Equal(t, "new", s.body(t, "a"))
}

func TestAnOldLayerStaysWhileThisMountNamespaceHasIt(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("needs a mount")
	}
	s := open(t)
	sealed(t, s, "a", "new")
	old, target := filepath.Join(s.Root(), ".old-a-1"), t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(old, "tree"), 0o700))
	require.NoError(t, unix.Mount(filepath.Join(old, "tree"), target, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	mounted, err := s.oldMounted(".old-a-1", "a")
	require.NoError(t, err)
	require.True(t, mounted)
	require.NoError(t, unix.Unmount(target, 0))
	mounted, err = s.oldMounted(".old-a-1", "a")
	require.NoError(t, err)
	require.False(t, mounted)
}

// Layers of another store may have the same names, even in store directories of
// the same name.
func TestAnOverlayOfAnotherStoreThatIsMountedKeepsNoOldLayer(t *testing.T) {
	s := open(t)
	sealed(t, s, "a", "new")
	other, target := filepath.Join(t.TempDir(), filepath.Base(s.Root())), t.TempDir()
	for _, id := range []string{"a", "b"} {
		require.NoError(t, os.MkdirAll(filepath.Join(other, id, "tree"), 0o700))
	}
	of := func(root string) string { return "lowerdir=" + root + "/a/tree:" + other + "/b/tree" }
	for root, keeps := range map[string]bool{other: false, s.Root(): true} {
		if err := unix.Mount("overlay", target, "overlay", unix.MS_RDONLY, of(root)); errors.Is(err, unix.EPERM) {
			t.Skip("an overlay cannot be mounted here")
		} else {
			require.NoError(t, err)
		}
		t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
		mounted, err := s.oldMounted(".old-a-1", "a")
		require.NoError(t, err)
		require.Equal(t, keeps, mounted)
		require.NoError(t, unix.Unmount(target, 0))
	}
}

func TestWhatCannotBeExchangedIsAnError(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(dir+"/a", 0o700))
	err := Exchange(dir+"/a", dir+"/none")
	require.ErrorIs(t, err, unix.ENOENT)
	require.NotErrorIs(t, err, driver.ErrUnsupported)
	require.DirExists(t, dir+"/a")
}

// If the layers cannot be listed, it is unknown whether one of them is mounted.
func TestWithoutTheListOfLayersAnOldOneIsNotRemoved(t *testing.T) {
	s := open(t)
	sealed(t, s, "a", "x")
	require.NoError(t, os.RemoveAll(s.Root()))
	_, err := s.oldMounted(".old-a-1", "a")
	require.ErrorIs(t, err, unix.ENOENT)
}

func TestADirectoryWithoutARecordIsNoLayer(t *testing.T) {
	s := open(t)
	require.NoError(t, os.Mkdir(s.Path("a"), 0o700))
	_, err := s.Load("a")
	require.ErrorIs(t, err, driver.ErrNotFound)
}
