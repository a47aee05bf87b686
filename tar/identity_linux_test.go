package tar_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/tar"
)

// Unpack accepts what diff writes, and makes the same tree, for any tree: deep,
// wide, with holes, with names of any bytes. No limit must be raised.
func TestWhateverIsOnADiskComesBackFromItsLayer(t *testing.T) {
	base := t.TempDir()
	t.Cleanup(func() { require.NoError(t, rmtree.Remove(base)) })
	checks := 12
	if testing.Short() {
		checks = 4
	}
	if n, err := strconv.Atoi(os.Getenv("LAYERKEEP_PROPERTY_CHECKS")); err == nil {
		checks = n
	}
	first := rand.Uint64()
	for i := range checks {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			dir, err := os.MkdirTemp(base, "")
			require.NoError(t, err)
			g := &wildTree{t: t, rng: rand.New(rand.NewPCG(seed, 0)), names: 1 + i*5%40, depth: []int{0, 600, 10, 3000}[i%4]}
			source := mkdirIn(t, dir, "source")
			g.fill(int(source.Fd()))
			requireIdentity(t, dir, source, []tar.Compression{tar.None, tar.Zstd, tar.Gzip}[i%3])
			require.NoError(t, rmtree.Remove(dir))
		})
	}
}

// A sparse file has the same size on disk after a round trip, and its holes are
// not read. Files of zeros cost almost nothing either.
func TestHolesComeBackAsHoles(t *testing.T) {
	base := t.TempDir()
	source := mkdirIn(t, base, "source")
	const size = 400 << 20
	f, err := os.Create(filepath.Join(source.Name(), "disk.img"))
	require.NoError(t, err)
	for _, at := range []int64{0, 100<<20 + 4096, 300 << 20, size - 4096} {
		_, err := f.WriteAt([]byte(strings.Repeat("data", 1024)), at)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	require.NoError(t, os.WriteFile(filepath.Join(source.Name(), "hole"), nil, 0o600))
	require.NoError(t, os.Truncate(filepath.Join(source.Name(), "hole"), size))
	require.NoError(t, os.WriteFile(filepath.Join(source.Name(), "zeros"), make([]byte, 8<<20), 0o600))
	before := blocksBelow(t, source)
	target := requireIdentity(t, base, source, tar.Zstd)
	require.LessOrEqual(t, blocksBelow(t, target), before)
	require.Less(t, blocksBelow(t, target), int64(1<<20), "the zeros, too")
}

type testingT interface {
	require.TestingT
	Helper()
	Context() context.Context
}

func mkdirIn(t testingT, base, name string) *os.File {
	t.Helper()
	require.NoError(t, os.Mkdir(filepath.Join(base, name), 0o755))
	f, err := os.Open(filepath.Join(base, name))
	require.NoError(t, err)
	return f
}

// requireIdentity writes a tree as a layer, applies the layer, and compares the
// two trees.
func requireIdentity(t testingT, base string, source *os.File, c tar.Compression) *os.File {
	t.Helper()
	defer source.Close()
	ctx := t.Context()
	fail := func(path, message string) { require.Fail(t, "warning", "%.200s: %s", path, message) }
	r, w := io.Pipe()
	go func() {
		z, err := tar.Compress(w, c)
		if err == nil {
			_, err = tar.Write(ctx, z, diff.Compare(ctx, nil, diff.DirView(source), diff.Options{}), tar.WriteOptions{})
		}
		if err == nil {
			err = z.Close()
		}
		w.CloseWithError(err)
	}()
	staging, target := mkdirIn(t, base, "staging"), mkdirIn(t, base, "target")
	defer staging.Close()
	delta, _, err := tar.Unpack(ctx, staging, r, tar.UnpackOptions{Warn: fail})
	require.NoError(t, err)
	require.NoError(t, delta.Merge(ctx, tar.Target{Root: target}))
	for change, err := range diff.Compare(ctx, diff.DirView(source), diff.DirView(target), diff.Options{}) {
		require.NoError(t, err)
		if change.Path != "." || change.Kind == diff.Delete {
			require.Fail(t, "the trees differ", "%v %.300q", change.Kind, change.Path)
		}
	}
	return target
}

func blocksBelow(t *testing.T, dir *os.File) (bytes int64) {
	t.Helper()
	entries, err := os.ReadDir(dir.Name())
	require.NoError(t, err)
	for _, e := range entries {
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(filepath.Join(dir.Name(), e.Name()), &st))
		bytes += st.Blocks * 512
	}
	return bytes
}

// A wildTree makes trees with unusual files that can exist on a disk.
type wildTree struct {
	t     testingT
	rng   *rand.Rand
	names int
	depth int
	first string // a file in the root, for hard links
}

func (g *wildTree) fill(root int) {
	at, err := unix.Dup(root)
	require.NoError(g.t, err)
	name := g.name()
	for level := range g.depth + 1 {
		if level == 0 || g.rng.IntN(500) == 0 {
			for range g.names {
				g.file(root, at)
			}
		}
		if len(name) > 2 && g.depth > 100 {
			name = name[:2]
		}
		if unix.Mkdirat(at, name, 0o755) != nil { // a file has the name
			name = "d"
			_ = unix.Mkdirat(at, name, 0o700)
		}
		next, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		require.NoError(g.t, err)
		require.NoError(g.t, unix.UtimesNanoAt(at, name, []unix.Timespec{{}, {Sec: int64(level), Nsec: 1}}, unix.AT_SYMLINK_NOFOLLOW))
		unix.Close(at)
		at = next
	}
	unix.Close(at)
}

// name returns a name of any bytes except NUL and the slash. It does not start
// as a marker.
func (g *wildTree) name() string {
	b := make([]byte, 1+g.rng.IntN(255))
	for i := range b {
		for b[i] == 0 || b[i] == '/' || i == 0 && b[i] == '.' {
			b[i] = byte(g.rng.IntN(256))
		}
	}
	return string(b)
}

func (g *wildTree) file(root, dir int) {
	name := g.name()
	switch g.rng.IntN(5) {
	case 0:
		if unix.Symlinkat(strings.Repeat("t", 1+g.rng.IntN(4000)), dir, name) != nil {
			return
		}
	case 1:
		if g.first == "" || unix.Linkat(root, g.first, dir, name, 0) != nil {
			return
		}
	case 2:
		if unix.Mknodat(dir, name, unix.S_IFIFO|0o640, 0) != nil {
			return
		}
	default:
		fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, uint32(g.rng.IntN(0o10000))|0o400)
		if err != nil {
			return
		}
		g.body(fd)
		if g.first == "" {
			g.first = name
		}
		_ = unix.Fsetxattr(fd, "user.\xff any", []byte(g.name()), 0) // ignored if the file system does not support them
		unix.Close(fd)
	}
	when := unix.Timespec{Sec: g.rng.Int64N(1<<33) - 1<<31, Nsec: g.rng.Int64N(int64(time.Second))}
	require.NoError(g.t, unix.UtimesNanoAt(dir, name, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
}

// body writes nothing, or data with holes and zeros between and after it.
func (g *wildTree) body(fd int) {
	size := int64(0)
	for range g.rng.IntN(4) {
		size += g.rng.Int64N(1 << uint(g.rng.IntN(24)))
		n, err := unix.Pwrite(fd, []byte(strings.Repeat(string(rune('\x00'+g.rng.IntN(2))), g.rng.IntN(20_000))), size)
		require.NoError(g.t, err)
		size += int64(n)
	}
	require.NoError(g.t, unix.Ftruncate(fd, size+g.rng.Int64N(1<<uint(g.rng.IntN(24)))))
}
