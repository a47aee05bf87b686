package tar

import (
	stdtar "archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rmtree"
)

// The stream that diff writes for a file of zeros, in each compression.
func TestZerosAreNoBomb(t *testing.T) {
	const size = 96 << 20
	for _, c := range []Compression{None, Gzip, Zstd} {
		t.Run(c.String(), func(t *testing.T) {
			var packed bytes.Buffer
			w, err := Compress(&packed, c)
			require.NoError(t, err)
			tw := stdtar.NewWriter(w)
			require.NoError(t, tw.WriteHeader(&stdtar.Header{Name: "zeros", Size: size, Mode: 0o644, Uid: os.Geteuid(), Gid: os.Getegid()}))
			_, err = io.Copy(tw, io.LimitReader(endless{}, size))
			require.NoError(t, err)
			require.NoError(t, tw.Close())
			require.NoError(t, w.Close())

			_, _, err = unpackNew(t, bytes.NewReader(packed.Bytes()), UnpackOptions{})
			require.NoError(t, err, "%d bytes packed", packed.Len())
			if c == Zstd {
				_, _, err = unpackNew(t, bytes.NewReader(packed.Bytes()), UnpackOptions{Limits: Limits{Ratio: 2000}})
				require.ErrorIs(t, err, diff.ErrInvalidLayer, "a limit that was asked for")
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// The path of one entry can ask for half a million directories. The time must
// not grow with the square of that.
func TestOneEntryMayImplyADeepTree(t *testing.T) {
	requireRoot(t)
	const depth = 5_000
	base := t.TempDir()
	t.Cleanup(func() { require.NoError(t, rmtree.Remove(base)) })
	b := newPlainBed(t, base)
	applied, err := b.apply(t, fstest.Layer(t, fstest.File(strings.Repeat("d/", depth)+"f", "x")), UnpackOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 1, applied.Entries)
	// A second layer meets this tree, and merges into its lowest directory.
	applied, err = b.apply(t, fstest.Layer(t, fstest.File(strings.Repeat("d/", depth)+"g", "x"), fstest.Whiteout(strings.Repeat("d/", depth)+"f")), UnpackOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 2, applied.Entries)
	dir, n, err := lookupPath(diff.DirView(open(t, b.root)), strings.Repeat("d/", depth)+"g")
	require.NoError(t, err)
	require.True(t, n.IsRegular())
	_, gone, err := lookupChild(dir, "f")
	require.NoError(t, err)
	require.False(t, gone)
}

// A stream that is spooled, because later entries decide about an earlier one,
// is counted once.
func TestWhatIsReadAgainIsCountedOnce(t *testing.T) {
	requireRoot(t)
	inTheWay := []fstest.Entry{fstest.File("f", "a file, in the way")}
	parents, merged, layer, _ := verified(t, inTheWay, []fstest.Entry{fstest.File("f/x", strings.Repeat("x", 1<<20)), fstest.Whiteout("f")})
	for name, c := range map[string]struct {
		limits  Limits
		refused bool
	}{
		// Two entries, the directory f, and the mark of the removed path.
		"just enough": {Limits{Bytes: int64(len(layer)), Entries: 4}, false},
		"a byte less": {Limits{Bytes: int64(len(layer)) - 1}, true},
		"one less":    {Limits{Entries: 3}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPlainBed(t, t.TempDir())
			_, err := b.apply(t, fstest.Layer(t, inTheWay...), UnpackOptions{})
			require.NoError(t, err)
			_, applyErr := b.apply(t, layer, UnpackOptions{Limits: c.limits})
			_, verifyErr := Verify(t.Context(), bytes.NewReader(layer), parents, merged, VerifyOptions{Limits: c.limits, ReadData: true})
			if c.refused {
				require.ErrorIs(t, applyErr, diff.ErrInvalidLayer)
				require.ErrorIs(t, verifyErr, diff.ErrInvalidLayer)
				return
			}
			require.NoError(t, applyErr)
			require.NoError(t, verifyErr)
			require.EqualValues(t, 1<<20, b.tree(t)["f/x"].Size)
		})
	}
}

func TestAVerificationThatReadsAheadKeepsToTheLimits(t *testing.T) {
	requireRoot(t)
	parents, merged, layer, _ := verified(t, []fstest.Entry{fstest.File("f", "a file, in the way")},
		[]fstest.Entry{fstest.File("f/x", "x"), fstest.Whiteout("f"), fstest.Whiteout("a/b/c/d/e/f/g/h"), fstest.File("z", "z")})
	for entries, refused := range map[int64]bool{100: false, 8: true} {
		_, err := Verify(t.Context(), bytes.NewReader(layer), parents, merged, VerifyOptions{Limits: Limits{Entries: entries}, ReadData: true})
		if !refused {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, diff.ErrInvalidLayer)
		require.ErrorContains(t, err, "more than 8 entries")
	}
}

// pathOf returns a path of n bytes, with the longest possible names.
func pathOf(size int) string {
	path := strings.Repeat(strings.Repeat("n", 255)+"/", size/256-2)
	for left := size - len(path); left > 255; left = size - len(path) {
		path += strings.Repeat("m", min(200, left-2)) + "/"
	}
	return path + strings.Repeat("f", size-len(path))
}

// Everything that a diff can write can be applied, up to the last byte.
func TestTheLongestPathIsApplied(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	t.Cleanup(func() { require.NoError(t, rmtree.Remove(base)) })
	b := newPlainBed(t, base)
	for size, refused := range map[int]bool{MaxPath: false, MaxPath + 1: true} {
		path := pathOf(size)
		require.Len(t, path, size)
		_, err := b.apply(t, fstest.Layer(t, fstest.File(path, "x")), UnpackOptions{})
		if refused {
			require.ErrorIs(t, err, diff.ErrInvalidLayer)
			continue
		}
		require.NoError(t, err)
		_, n, err := lookupPath(diff.DirView(open(t, b.root)), path)
		require.NoError(t, err)
		require.True(t, n.IsRegular())
	}
}

func lookupPath(v diff.View, path string) (diff.Dir, diff.Node, error) {
	tree := &parentTree{view: v}
	n, in, _, _, err := tree.lookup(path)
	return in, n, err
}

// memoryLayers are layers that need much memory until their end. Each needs
// many more bytes than the limit of the test.
var memoryLayers = map[string]struct {
	entries int
	entry   func(i int) *stdtar.Header
	refused bool
}{
	"files with long paths": {6_000, func(i int) *stdtar.Header {
		return &stdtar.Header{Name: strings.Repeat(strings.Repeat("n", 250)+"/", 100) + strconv.Itoa(i), Typeflag: stdtar.TypeReg}
	}, false},
	"directories with long paths": {4_000, func(i int) *stdtar.Header {
		return &stdtar.Header{Name: strings.Repeat(strings.Repeat("n", 250)+"/", 100) + strconv.Itoa(i), Typeflag: stdtar.TypeDir}
	}, false},
	"directories with large attributes": {6_000, func(i int) *stdtar.Header {
		return &stdtar.Header{
			Name: strconv.Itoa(i), Typeflag: stdtar.TypeDir, Mode: 0o755,
			PAXRecords: map[string]string{xattrRecord + "com.apple.x": "", "comment": strings.Repeat("c", 9000), xattrRecord + "user.k": strings.Repeat("v", 1000)},
		}
	}, false},
	"symbolic links with long targets": {15_000, func(i int) *stdtar.Header {
		return &stdtar.Header{Name: strconv.Itoa(i), Typeflag: stdtar.TypeSymlink, Linkname: strings.Repeat("t", 4000)}
	}, false},
	"many files": {60_000, func(i int) *stdtar.Header {
		return &stdtar.Header{Name: fmt.Sprintf("dir%d/file%d", i%100, i), Typeflag: stdtar.TypeReg}
	}, false},
	"many directories": {60_000, func(i int) *stdtar.Header {
		return &stdtar.Header{Name: fmt.Sprintf("dir%d/dir%d", i%100, i), Typeflag: stdtar.TypeDir}
	}, true},
	"many whiteouts": {80_000, func(i int) *stdtar.Header {
		return &stdtar.Header{Name: fmt.Sprintf("dir/.wh.%d", i), Typeflag: stdtar.TypeReg}
	}, true},
	"whiteouts in directories with long paths": {300, func(i int) *stdtar.Header {
		return &stdtar.Header{Name: strings.Repeat(fmt.Sprintf("dir%d/", i), 2000) + ".wh.x", Typeflag: stdtar.TypeReg}
	}, true},
	"directories implied by a few paths": {4, func(i int) *stdtar.Header {
		return &stdtar.Header{Name: strconv.Itoa(i) + "/" + strings.Repeat("d/", 50_000) + "x", Typeflag: stdtar.TypeReg}
	}, true},
	"hard links with long paths": {2_000, func(i int) *stdtar.Header {
		h := &stdtar.Header{Name: strings.Repeat(strings.Repeat("n", 250)+"/", 100) + strconv.Itoa(i), Typeflag: stdtar.TypeLink, Linkname: "f"}
		if i == 0 {
			return &stdtar.Header{Name: "f", Typeflag: stdtar.TypeReg}
		}
		return h
	}, false},
}

const (
	memoryLimit = 6 << 20
	// memoryBound is the memory of a process at the limit: its buffers, and twice
	// the limit, because the garbage collector runs when the memory in use has
	// doubled.
	memoryBound = 2*memoryLimit + 56<<20
	memoryEnv   = "LAYERKEEP_TEST_UNPACK"
)

// The memory for a layer is bounded, whatever the layer is. It is measured in a
// separate process.
func TestTheMemoryForALayerIsBounded(t *testing.T) {
	if name := os.Getenv(memoryEnv); name != "" {
		unpackMeasured(t, name)
		return
	}
	requireRoot(t)
	if testing.Short() {
		t.Skip("makes and removes many files")
	}
	for name, c := range memoryLayers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Cleanup(func() { require.NoError(t, rmtree.Remove(dir)) })
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestTheMemoryForALayerIsBounded$", "-test.v")
			cmd.Env = append(os.Environ(), memoryEnv+"="+name, memoryEnv+"_DIR="+dir)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%.2000s", out)
			require.Contains(t, string(out), fmt.Sprintf("refused: %v", c.refused))
			_, after, _ := strings.Cut(string(out), "peak: ")
			peak, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
			require.NoError(t, err)
			t.Logf("peak of %d MiB, refused: %v", peak>>20, c.refused)
			require.Less(t, peak, int64(memoryBound))
		})
	}
}

func unpackMeasured(t *testing.T, name string) {
	c := memoryLayers[name]
	r, w := io.Pipe()
	go func() {
		tw := stdtar.NewWriter(w)
		var err error
		for i := 0; i < c.entries && err == nil; i++ {
			h := c.entry(i)
			h.Format = stdtar.FormatPAX
			err = tw.WriteHeader(h)
		}
		if err == nil {
			err = tw.Close()
		}
		w.CloseWithError(err)
	}()
	dir, err := os.Open(os.Getenv(memoryEnv + "_DIR"))
	require.NoError(t, err)
	_, _, err = Unpack(context.Background(), dir, r, UnpackOptions{Limits: Limits{Memory: memoryLimit}})
	r.Close()
	if err != nil {
		require.ErrorIs(t, err, diff.ErrInvalidLayer)
		require.ErrorContains(t, err, "of memory")
	}
	status, serr := os.ReadFile("/proc/self/status")
	require.NoError(t, serr)
	_, hwm, _ := strings.Cut(string(status), "VmHWM:")
	kib, serr := strconv.ParseInt(strings.Fields(hwm)[0], 10, 64)
	require.NoError(t, serr)
	fmt.Printf("refused: %v\npeak: %d\n", err != nil, kib<<10)
}

// Nodes that were forgotten to save memory are found again on disk.
func TestWhatWasForgottenIsFoundAgain(t *testing.T) {
	requireRoot(t)
	var entries []fstest.Entry
	for i := range 400 {
		entries = append(entries, fstest.File(fmt.Sprintf("d/f%d", i), "x"), fstest.Symlink(fmt.Sprintf("d/s%d", i), "../e"), fstest.File(fmt.Sprintf("gone/f%d", i), ""))
	}
	entries = append(entries, fstest.Dir("e"))
	for i := range 400 {
		entries = append(entries,
			fstest.File(fmt.Sprintf("d/s%d/f%d", i, i), "through a link"), fstest.Link(fmt.Sprintf("l%d", i), fmt.Sprintf("d/f%d", i)),
			fstest.Link(fmt.Sprintf("m%d", i), fmt.Sprintf("d/s%d/f%d", i, i)), fstest.File(fmt.Sprintf("d/s%d", i), "again"))
	}
	entries = append(entries, fstest.File("gone", "a file now"))
	layer := fstest.Layer(t, entries...)
	apply := func(memory int64) fstest.Tree {
		b := newPlainBed(t, t.TempDir())
		_, err := b.apply(t, layer, UnpackOptions{Limits: Limits{Memory: memory}})
		require.NoError(t, err)
		return b.tree(t)
	}
	want := apply(0)
	require.Equal(t, want, apply(8<<10))
	_, _, err := unpackNew(t, bytes.NewReader(layer), UnpackOptions{Limits: Limits{Memory: 100}})
	require.ErrorIs(t, err, diff.ErrInvalidLayer)
}

// For each file of the parents that a hard link copies into the layer, both
// paths stay in memory.
func TestHardLinksToFilesOfTheParentsCount(t *testing.T) {
	requireRoot(t)
	const links = 300
	var entries []fstest.Entry
	b := newPlainBed(t, t.TempDir())
	for i := range links {
		file := fmt.Sprintf("f%03d", i)
		require.NoError(t, os.WriteFile(filepath.Join(b.root, file), nil, 0o600))
		entries = append(entries, fstest.Link(file+strings.Repeat("l", 236), file))
	}
	layer := fstest.Layer(t, entries...)
	kept := int64(links * (4 + 240 + copiedCost))
	_, err := b.apply(t, layer, UnpackOptions{Limits: Limits{Memory: kept}})
	require.ErrorIs(t, err, diff.ErrInvalidLayer)
	_, err = b.apply(t, layer, UnpackOptions{Limits: Limits{Memory: 2 * kept}})
	require.NoError(t, err)
}
