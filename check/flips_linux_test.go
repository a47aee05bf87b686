package check_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/snapshotter"
)

var (
	flips    = flag.Int("flips", 0, "bits to flip in each file of a store; 0: a few")
	flipSeed = flag.Uint64("flip-seed", 0, "repeats the choices of a run; 0: the day's")
)

// The disk returns a wrong bit in any file of a store. Then the store is
// refused, or a check finds damage, or nothing visible differs. The program
// never panics and never deletes anything.
func TestAFlippedBitInAnyFileIsFoundOrHarmless(t *testing.T) {
	n, seed := *flips, *flipSeed
	if n == 0 {
		n = 6
		if testing.Short() {
			n = 1
		}
	}
	if seed == 0 {
		_, err := fmt.Sscan(time.Now().UTC().Format("20060102"), &seed)
		require.NoError(t, err)
	}
	for _, backend := range []string{"overlay2", "vfs"} {
		t.Run(backend, func(t *testing.T) {
			alltest.SkipInShort(t, backend)
			p := newPlace(t, backend)
			sound := p.seen(t)
			counts := map[string]int{}
			random := rand.New(rand.NewPCG(seed, 7))
			work := filepath.Dir(p.file(t, "work", "d"))
			for _, file := range p.files(t, work) {
				for range n {
					bit := random.Int64N(8 * file.size)
					counts[p.flipped(t, sound, file.name, bit)]++
				}
			}
			t.Logf("seed %d: %v", seed, counts)
			require.Positive(t, counts["found"])
		})
	}
}

// flipped flips a bit in a copy of the store and returns what happened.
func (p place) flipped(t *testing.T, sound, file string, bit int64) string {
	t.Helper()
	c := place{p.root + "-copy", p.backend}
	out, err := exec.CommandContext(t.Context(), "cp", "-a", p.root, c.root).CombinedOutput()
	require.NoError(t, err, "%s", out)
	defer func() { require.NoError(t, os.RemoveAll(c.root)) }()
	flipBit(t, filepath.Join(c.root, file), bit)
	before := c.files(t, "")
	what := fmt.Sprintf("bit %d of %s", bit, file)

	snaps, err := snapshotter.Open(t.Context(), c.root, snapshotter.Options{Driver: c.backend})
	if err != nil {
		require.True(t, refused(err), "%s: opening: %v", what, err)
		require.Equal(t, layersOf(before), layersOf(c.files(t, "")), "%s: opening has deleted something", what)
		return "refused"
	}
	defer func() { require.NoError(t, snaps.Close()) }()
	images, err := image.Open(snaps)
	if err != nil {
		require.True(t, refused(err), "%s: opening the images: %v", what, err)
		return "refused"
	}
	require.Subset(t, layersOf(c.files(t, "")), layersOf(before), "%s: opening has deleted something", what)
	var found []check.Finding
	_, err = check.Run(t.Context(), snaps, images, check.Options{ReadData: true}, func(f check.Finding) { found = append(found, f) })
	if err != nil {
		require.True(t, refused(err), "%s: checking: %v", what, err)
		return "refused"
	}
	if len(found) > 0 {
		return "found"
	}
	require.Equal(t, sound, look(t, snaps, images), "%s: nothing was found", what)
	return "harmless"
}

// refused reports whether an error says that the store is damaged or has an
// unknown format.
func refused(err error) bool {
	for _, kind := range []error{
		snapshotter.ErrDamaged, snapshotter.ErrNewerStore, snapshotter.ErrOtherDriver, snapshotter.ErrLayerDamaged, driver.ErrUnsupported,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

func flipBit(t *testing.T, path string, bit int64) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, bit/8)
	require.NoError(t, err)
	b[0] ^= 1 << (bit % 8)
	_, err = f.WriteAt(b, bit/8)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime())) // damage by a disk does not change times
}

// A storeFile is a regular file of a store, by its path below the root.
type storeFile struct {
	name string
	size int64
}

// files returns the files with content, except those in the tree of the active
// layer, because nothing says what these must contain.
func (p place) files(t *testing.T, work string) (files []storeFile) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(p.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && path == work {
			return fs.SkipDir
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		name, err := filepath.Rel(p.root, path)
		files = append(files, storeFile{name, info.Size()})
		return err
	}))
	require.NotEmpty(t, files)
	return files
}

// layersOf returns the names of the files in layers, and of blobs.
func layersOf(files []storeFile) (names []string) {
	for _, f := range files {
		if strings.Contains(f.name, "/") {
			names = append(names, f.name)
		}
	}
	slices.Sort(names)
	return names
}

// seen opens a store and calls look.
func (p place) seen(t *testing.T) string {
	t.Helper()
	snaps, images := p.open(t)
	defer func() { require.NoError(t, snaps.Close()) }()
	return look(t, snaps, images)
}

// look returns everything that is visible of a store: images, snapshots, usage,
// contents.
func look(t *testing.T, snaps *snapshotter.Snapshotter, images *image.Store) string {
	t.Helper()
	var b strings.Builder
	all, err := images.List(t.Context())
	require.NoError(t, err)
	for _, img := range all {
		text, err := json.Marshal(img)
		require.NoError(t, err)
		fmt.Fprintf(&b, "%s\n", text)
	}
	require.NoError(t, snaps.Walk(t.Context(), func(_ context.Context, info snapshots.Info) error {
		usage, err := snaps.Usage(t.Context(), info.Name)
		require.NoError(t, err)
		sum, err := snaps.ContentDigest(t.Context(), info.Name, func(int) error { return nil })
		require.NoError(t, err)
		text, err := json.Marshal(info)
		fmt.Fprintf(&b, "%s %v %s\n", text, usage, sum)
		return err
	}))
	return b.String()
}

// Damage by a disk does not change times. So a check must also read the files
// that a layer on vfs has copied from its parent.
func TestABlockThatTheDiskSpoilsIsFoundInEveryLayer(t *testing.T) {
	for backend, layers := range map[string]int{"overlay2": 1, "vfs": 3} {
		t.Run(backend, func(t *testing.T) {
			p := newPlace(t, backend)
			found, _ := p.check(t, check.Options{ReadData: true})
			require.Empty(t, found)
			// base/c is in the second layer of the image. On vfs it is also in all layers
			// above.
			tree := strings.Split(p.file(t, "work", ""), "/")
			copies, err := filepath.Glob(filepath.Join(p.root, backend, "*", tree[len(tree)-1], "base/c"))
			require.NoError(t, err)
			work := p.file(t, "work", "base/c")
			sound := read(t, copies[0])
			spoilt := map[string]bool{}
			image := backing(t, p.root)
			for _, at := range blocksOf(t, image, bytes.Repeat([]byte("c"), 4096)) {
				flipBit(t, image, at*8)
				for _, file := range copies {
					forget(t, file)
					if file != work && read(t, file) != sound {
						found, _ = p.check(t, check.Options{ReadData: true})
						require.NotEmpty(t, found, "a spoilt block of %s was not found", file)
						spoilt[file] = true
					}
				}
				flipBit(t, image, at*8)
				for _, file := range copies {
					forget(t, file)
					require.Equal(t, sound, read(t, file))
				}
			}
			require.Len(t, spoilt, layers, "layers whose blocks were spoilt")
			found, _ = p.check(t, check.Options{ReadData: true})
			require.Empty(t, found)
		})
	}
}

// backing returns the image file of the loop device that a directory is on.
func backing(t *testing.T, dir string) string {
	t.Helper()
	require.NoError(t, exec.CommandContext(t.Context(), "sync", "-f", dir).Run())
	var st unix.Stat_t
	require.NoError(t, unix.Stat(dir, &st))
	name := fmt.Sprintf("/sys/dev/block/%d:%d/loop/backing_file", unix.Major(st.Dev), unix.Minor(st.Dev))
	return strings.TrimSpace(read(t, name))
}

// blocksOf returns the offsets, in bytes, of the blocks in an image file that
// have this content.
func blocksOf(t *testing.T, image string, content []byte) (at []int64) {
	t.Helper()
	f, err := os.Open(image)
	require.NoError(t, err)
	defer f.Close()
	block := make([]byte, len(content))
	for n := int64(0); ; n += int64(len(block)) {
		if _, err := io.ReadFull(f, block); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		if bytes.Equal(block, content) {
			at = append(at, n)
		}
	}
	require.NotEmpty(t, at)
	return at
}

// forget makes the next reader of a file read it from the disk.
func forget(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(content)
}
