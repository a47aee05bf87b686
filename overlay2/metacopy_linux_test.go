package overlay2

import (
	stdtar "archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// metacopying opens a driver whose mounts copy up only the attributes of a
// file.
func metacopying(t *testing.T) *overlay {
	t.Helper()
	d := redirecting(t, driver.Options{Metacopy: true})
	if !d.features.Metacopy {
		t.Skip("the kernel's overlay has no metacopy here")
	}
	return d
}

// writeBig writes size bytes without a hole, and returns their digest.
func writeBig(t *testing.T, path string, size int64) [sha256.Size]byte {
	t.Helper()
	block := make([]byte, 1<<20)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(block)
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	sum := sha256.New()
	for at := int64(0); at < size; at += int64(len(block)) {
		copy(block, fmt.Sprintf("block at %d", at))
		_, err := io.MultiWriter(f, sum).Write(block)
		require.NoError(t, err)
	}
	require.NoError(t, f.Chmod(0o644))
	return digestOf(sum)
}

func digestOf(h hash.Hash) (sum [sha256.Size]byte) {
	copy(sum[:], h.Sum(nil))
	return sum
}

// allocated returns how much a tree takes on disk, in bytes.
func allocated(t *testing.T, root string) (bytes int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		err = errors.Join(err, unix.Lstat(p, &st))
		bytes += st.Blocks * 512
		return err
	}))
	return bytes
}

// bodies returns the digests of the regular files in the diff of a layer.
func (d *overlay) bodies(t *testing.T, id driver.ID) map[string][sha256.Size]byte {
	t.Helper()
	r, w := io.Pipe()
	go func() {
		_, err := driver.Diff(t.Context(), d, id, w, driver.DiffOptions{})
		_ = w.CloseWithError(err)
	}()
	sums := map[string][sha256.Size]byte{}
	for tr := stdtar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r)
			require.NoError(t, err)
			return sums
		}
		require.NoError(t, err)
		if h.Typeflag == stdtar.TypeReg {
			sum := sha256.New()
			n, err := io.Copy(sum, tr)
			require.NoError(t, err)
			require.Equal(t, h.Size, n)
			sums[h.Name] = digestOf(sum)
		}
	}
}

func TestWithMetacopyAChmodOfAGibibyteCopiesNoDataAndDiffsWithTheBody(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	d := metacopying(t)
	require.NoError(t, d.Create(t.Context(), "base", nil, driver.CreateOptions{}))
	sum := writeBig(t, d.store.Path("base", fsDir, "big"), size)
	require.GreaterOrEqual(t, allocated(t, d.store.Path("base", fsDir)), size, "a file without holes")
	d.layer(t, "work", []driver.ID{"base"}, Chmod("big", 0o600))
	require.Less(t, allocated(t, d.store.Path("work", fsDir)), int64(64<<10))

	changes, err := difftest.Collect(driver.Changes(t.Context(), d, "work", nil))
	require.NoError(t, err)
	require.Equal(t, []string{"M /big"}, difftest.Paths(changes))
	require.Equal(t, uint32(diff.TypeRegular|0o600), changes[0].Node.Mode)
	require.Equal(t, size, changes[0].Node.Size)
	require.Equal(t, map[string][sha256.Size]byte{"big": sum}, d.bodies(t, "work"))
	old, new := d.looks(t, "work")
	require.Empty(t, old.read)
	require.Empty(t, new.read, "the mode tells the change")

	// Once more, over the layer that has the attributes but not the body, and after
	// a rename.
	d.layer(t, "next", []driver.ID{"work", "base"}, Chmod("big", 0o640), Rename("big", "moved"))
	require.Less(t, allocated(t, d.store.Path("next", fsDir)), int64(64<<10))
	require.Equal(t, map[string][sha256.Size]byte{".wh.big": sha256.Sum256(nil), "moved": sum}, d.bodies(t, "next"))
}

func TestWithMetacopyAnUnchangedCopyUpIsNotRead(t *testing.T) {
	d := metacopying(t)
	d.layer(t, "base", nil, Create("f", "body"), Create("g", "body"))
	d.layer(t, "work", []driver.ID{"base"}, Chmod("f", 0o600), Chmod("f", 0o644), Chmod("g", 0o600), Write("g", "ydob"), Chmod("g", 0o644))
	require.Equal(t, []string{"M /g"}, d.requireRight(t, "work", []driver.ID{"base"}))
	old, new := d.looks(t, "work")
	require.Equal(t, map[string]bool{"g": true}, old.read, "f has one body for both")
	require.Equal(t, map[string]bool{"g": true}, new.read)
}

func TestWithMetacopyDirectoriesAndFilesAreRenamed(t *testing.T) {
	d := metacopying(t)
	d.layer(t, "base", nil, renameBase()...)
	d.layer(t, "one", []driver.ID{"base"}, Rename("a", "z"), Chmod("z/1", 0o600), Rename("z/1", "q/1"), Chmod("l/one", 0o600))
	require.ElementsMatch(t, []string{
		"D /a", "M /l/one", "A /q/1", "A /z", "A /z/b", "A /z/b/2", "A /z/b/c", "A /z/b/c/3",
	}, d.requireRight(t, "one", []driver.ID{"base"}))
	d.layer(t, "two", []driver.ID{"one", "base"}, Chmod("q/1", 0o640), Rename("q", "x"), Chmod("z/b/2", 0o640), Rename("z/b/2", "d/2"), Remove("z"))
	require.ElementsMatch(t, []string{
		"D /q", "D /z", "A /d/2", "A /x", "A /x/1", "A /x/5",
	}, d.requireRight(t, "two", []driver.ID{"one", "base"}))
	v, err := d.view("two")
	require.NoError(t, err)
	defer v.Close()
	require.Equal(t, "a1", FromView(t, v)["x/1"].Body[:2])
}

func TestOnlyAWritableLayerThatIsToHaveItIsMadeWithMetacopy(t *testing.T) {
	for _, asked := range []bool{true, false} {
		d := open(t, driver.Options{Metacopy: asked})
		require.NoError(t, d.Create(t.Context(), "base", nil, driver.CreateOptions{}))
		base, err := d.store.Load("base")
		require.NoError(t, err)
		require.Equal(t, asked && d.features.Metacopy, base.Metacopy)
		plain := open(t, driver.Options{})
		require.NoError(t, plain.Create(t.Context(), "base", nil, driver.CreateOptions{}))
		require.NoError(t, plain.Seal(t.Context(), "base"))
		plain.opts.Metacopy = asked
		require.NoError(t, plain.Create(t.Context(), "view", []driver.ID{"base"}, driver.CreateOptions{View: true}))
		view, err := plain.store.Load("view")
		require.NoError(t, err)
		require.False(t, view.Metacopy, "a view has no files of its own")
	}
}
