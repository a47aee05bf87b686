package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func openScratch(t *testing.T) *Scratch {
	t.Helper()
	if !fstest.CanMount(t) {
		t.Skip("mounting is not permitted here")
	}
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// image makes a disk, or skips the test where this machine cannot make one.
func image(t *testing.T, s *Scratch, kind string) *Place {
	t.Helper()
	p, err := s.Image(t.Context(), kind, kind, 512<<20)
	if err != nil && strings.Contains(err.Error(), ErrUnsupported.Error()) {
		t.Skip(err)
	}
	if os.Geteuid() == 0 && os.Getenv("container") != "" && err != nil {
		t.Skip(err)
	}
	require.NoError(t, err)
	return p
}

func TestOneRunHasADirectoryForItself(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	require.NoError(t, err)
	_, err = Open(dir)
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, s.Close())
	require.Empty(t, names(t, dir))
	s, err = Open(dir)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = Open(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// What a killed run has left goes, mounts too; what others have made with such
// a name stays.
func TestTheNextRunRemovesWhatAKilledOneHasLeft(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("mounting is not permitted here")
	}
	dir := t.TempDir()
	s, err := Open(dir)
	require.NoError(t, err)
	p, err := s.Image(t.Context(), Tmpfs, Tmpfs, 0)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.Dir, "file"), []byte("x"), 0o600))
	require.NoError(t, s.lock.Close()) // as when the process has ended
	outside := filepath.Join(dir, "outside")
	require.NoError(t, os.Mkdir(outside, 0o700))
	require.NoError(t, os.Symlink("outside", filepath.Join(dir, Prefix+"link")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, Prefix+"file"), nil, 0o600))
	require.NotEmpty(t, fstest.MountsBelow(t, dir))

	s, err = Open(dir)
	require.NoError(t, err)
	require.Empty(t, fstest.MountsBelow(t, dir))
	require.NoError(t, s.Close())
	require.ElementsMatch(t, []string{"outside", Prefix + "link", Prefix + "file"}, names(t, dir))
}

func TestADiskOfEachFileSystem(t *testing.T) {
	for _, kind := range FileSystems() {
		t.Run(kind, func(t *testing.T) {
			s := openScratch(t)
			p := image(t, s, kind)
			require.Equal(t, kind, p.FileSystem)
			require.Equal(t, kind == "xfs" || kind == "btrfs", p.Reflink)
			require.True(t, p.Own)
			size, free, err := p.Room()
			require.NoError(t, err)
			require.Greater(t, size, int64(100<<20))
			require.Greater(t, free, int64(50<<20))
			countsWhatIsWritten(t, p)
			require.NoError(t, s.Discard(p))
			require.Empty(t, fstest.MountsBelow(t, s.dir))
			require.Empty(t, names(t, s.dir))
		})
	}
	s := openScratch(t)
	_, err := s.Image(t.Context(), "zfs", "zfs", 1<<20)
	require.ErrorIs(t, err, ErrUnsupported)
}

// countsWhatIsWritten writes 8 MiB in 10 files, and looks at all counters.
func countsWhatIsWritten(t *testing.T, p *Place) {
	t.Helper()
	const files, each = 10, 800 << 10
	require.NoError(t, p.Sync())
	before, err := p.Used()
	require.NoError(t, err)
	written, counts := p.Written()
	require.Equal(t, p.FileSystem != Tmpfs, counts)
	content := make([]byte, each)
	for i := range files {
		content[0] = byte(i)
		require.NoError(t, os.WriteFile(filepath.Join(p.Dir, "f"+string(rune('0'+i))), content, 0o600))
	}
	require.NoError(t, p.Sync())
	now, err := p.Used()
	require.NoError(t, err)
	used := now.Sub(before)
	require.InDelta(t, files*each, used.Bytes, 2<<20)
	if p.CountsInodes() {
		require.EqualValues(t, files, used.Inodes)
	}
	if counts {
		since, _ := p.Written()
		require.GreaterOrEqual(t, since-written, int64(files*each))
		require.Less(t, since-written, int64(3*files*each))
	}
}

func TestExtentsThatFilesShareAreCounted(t *testing.T) {
	for _, kind := range []string{"xfs", "btrfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			s := openScratch(t)
			p := image(t, s, kind)
			const size = 1 << 20
			a, err := os.Create(filepath.Join(p.Dir, "a"))
			require.NoError(t, err)
			defer a.Close()
			_, err = a.Write(make([]byte, size))
			require.NoError(t, err)
			total, shared, err := Extents(a)
			require.NoError(t, err)
			require.EqualValues(t, size, total)
			require.Zero(t, shared)
			if !p.Reflink {
				return
			}
			b, err := os.Create(filepath.Join(p.Dir, "b"))
			require.NoError(t, err)
			defer b.Close()
			require.NoError(t, unix.IoctlFileClone(int(b.Fd()), int(a.Fd())))
			_, err = b.WriteAt([]byte("x"), 0)
			require.NoError(t, err)
			total, shared, err = Extents(b)
			require.NoError(t, err)
			require.EqualValues(t, size, total)
			require.Greater(t, shared, int64(size/2), "all but what was written")
			require.Less(t, shared, int64(size))
		})
	}
}

func TestSubvolumesAreRemovedToo(t *testing.T) {
	s := openScratch(t)
	p := image(t, s, "btrfs")
	dir, err := os.Open(p.Dir)
	require.NoError(t, err)
	defer dir.Close()
	makeSubvolumes(t, dir)
	require.NoError(t, Remove(p.Dir))
	require.NoDirExists(t, p.Dir)
}

func TestAPlaceIsDescribed(t *testing.T) {
	s := openScratch(t)
	p, err := s.Directory("scratch")
	require.NoError(t, err)
	require.False(t, p.Own)
	require.NotEmpty(t, p.FileSystem)
	require.NotEmpty(t, p.Device)
	require.NotEmpty(t, p.Options)
	free, err := s.Room()
	require.NoError(t, err)
	require.Positive(t, free)
}
