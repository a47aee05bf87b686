package tar

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// requireSameWhenForgetful applies a layer to an empty tree with and without
// forgetting, and compares the results.
func requireSameWhenForgetful(t *testing.T, entries ...fstest.Entry) {
	t.Helper()
	layer := fstest.Layer(t, entries...)
	plain, forgetful := newPlainBed(t, t.TempDir()), newPlainBed(t, t.TempDir())
	forgetful.forgetful = true
	_, want := plain.apply(t, layer, UnpackOptions{})
	_, err := forgetful.apply(t, layer, UnpackOptions{})
	require.Equal(t, want == nil, err == nil, "%.300v, forgetful: %.300v", want, err)
	require.Equal(t, fmt.Sprintf("%T", want), fmt.Sprintf("%T", err))
	fstest.RequireEqual(t, plain.tree(t), forgetful.tree(t), "forgetful")
}

// When the entry of a symbolic link has been read, a writer may still make the
// link, so it is not on disk yet.
func TestASymbolicLinkIsNotForgottenBeforeItIsMade(t *testing.T) {
	requireRoot(t)
	// The target alone takes more than a quarter of the limit.
	layer := fstest.Layer(t, fstest.Dir("d"), fstest.Symlink("s", strings.Repeat("./", 2000)+"d"), fstest.File("s/f", ""))
	for range 50 {
		dir, _, err := unpackNew(t, bytes.NewReader(layer), UnpackOptions{Limits: Limits{Memory: 8_000}})
		require.NoError(t, err)
		require.Contains(t, fstest.FromPath(t, dir.Name()), "d/f")
	}
}

// Hard links to a symbolic link also have its target. The bytes that are
// subtracted when they are forgotten must have been added before, or the limit
// has no effect.
func TestWhatIsForgottenWasCountedBefore(t *testing.T) {
	requireRoot(t)
	for _, forgetful := range []bool{false, true} {
		u, err := newUnpacker(t.Context(), staging(t, t.TempDir()), UnpackOptions{forgetful: forgetful})
		require.NoError(t, err)
		entries := []fstest.Entry{fstest.Symlink("d/s", strings.Repeat("t", 4000))}
		for i := range 20 {
			entries = append(entries, fstest.Link(fmt.Sprintf("l%d", i), "d/s"), fstest.Link(fmt.Sprintf("l%d", i/2), "d/s"))
		}
		entries = append(entries, fstest.File("e/f", ""), fstest.Link("e", "e/f"), fstest.File("d", ""))
		for i := range 20 {
			entries = append(entries, fstest.Whiteout("x"), fstest.File(fmt.Sprintf("l%d", i), ""), fstest.Dir("d"), fstest.File("d", ""))
		}
		u.start(bytes.NewReader(fstest.Layer(t, entries...)), digest.Canonical)
		require.NoError(t, u.readAll())
		require.NoError(t, u.forget())
		var kept int64
		for n := range u.root.dir.children.all() {
			kept += n.cost()
		}
		require.Equal(t, kept, u.kept, "forgetful: %v", forgetful)
		u.close()
	}
}

// unforgetting is an unpacker that cannot find out whether its work is done.
type unforgetting struct{ *unpacker }

var errUnforgetting = errors.New("a write failed")

func (unforgetting) forget() error { return errUnforgetting }

func TestAnErrorWhileFilesAreForgottenEndsTheLayer(t *testing.T) {
	requireRoot(t)
	u, err := newUnpacker(t.Context(), staging(t, t.TempDir()), UnpackOptions{forgetful: true})
	require.NoError(t, err)
	defer u.close()
	u.do = unforgetting{u}
	u.start(bytes.NewReader(fstest.Layer(t, fstest.File("f", "x"))), digest.Canonical)
	require.ErrorIs(t, u.readAll(), errUnforgetting)
}

func TestALinkToItselfChangesNothingWhenItsFileWasForgotten(t *testing.T) {
	requireRoot(t)
	requireSameWhenForgetful(t, fstest.Dir("a"), fstest.File("a/b", "b"), fstest.Symlink("s", "new/../a"), fstest.Link("s/b", "a/b"))
}

func TestANameThatIsTooLongIsRefusedAlsoWhereFilesWereForgotten(t *testing.T) {
	requireRoot(t)
	long := strings.Repeat("n", 256)
	layer := fstest.Layer(t, fstest.Symlink("s", long), fstest.File("s/x", ""))
	_, _, err := unpackNew(t, bytes.NewReader(layer), UnpackOptions{forgetful: true})
	require.ErrorIs(t, err, diff.ErrInvalidLayer)
}

// The rest of a stream that must be read twice is stored on disk, where its
// zeros take no space.
func TestAStreamThatIsReadTwiceKeepsItsHoles(t *testing.T) {
	requireRoot(t)
	b := newPlainBed(t, fstest.ScratchSize(t, fstest.Tmpfs, 32))
	_, err := b.apply(t, fstest.Layer(t, fstest.Dir("usr"), fstest.Symlink("lib", "usr")), UnpackOptions{})
	require.NoError(t, err)
	_, err = b.apply(t, fstest.Layer(t, fstest.File("lib/x", "x"), fstest.File("zeros", strings.Repeat("\x00", 48<<20))), UnpackOptions{})
	require.NoError(t, err)
	require.Equal(t, "x", b.tree(t)["usr/x"].Body)
}

// Layers of a few names that replace, link and remove each other have the same
// result, whenever files are forgotten.
func TestARandomLayerMeansTheSameWheneverFilesAreForgotten(t *testing.T) {
	requireRoot(t)
	checks := 60
	if n, err := strconv.Atoi(os.Getenv("LAYERKEEP_PROPERTY_CHECKS")); err == nil {
		checks = n
	}
	first, dir, accepted := rand.Uint64(), fstest.Quick(t), 0
	for i := range checks {
		seed := first + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			base, layer := fstest.Layer(t, randomEntries(rnd, 8)...), fstest.Layer(t, randomEntries(rnd, 25)...)
			apply := func(opts UnpackOptions) (fstest.Tree, error) {
				b := newPlainBed(t, staging(t, dir).Name())
				_, _ = b.apply(t, base, UnpackOptions{}) // a refused layer leaves nothing
				b.forgetful = opts.forgetful
				_, err := b.apply(t, layer, opts)
				return b.tree(t), err
			}
			tree, want := apply(UnpackOptions{})
			if want == nil {
				accepted++
			}
			for name, opts := range map[string]UnpackOptions{
				"each time":  {forgetful: true},
				"sometimes":  {Limits: Limits{Memory: 4_000 + rnd.Int64N(16_000)}},
				"one writer": {forgetful: true, Writers: 1},
			} {
				got, err := apply(opts)
				if err != nil && strings.Contains(err.Error(), "of memory") {
					continue
				}
				require.Equal(t, want == nil, err == nil, "%s: %.300v, and with files forgotten %.300v", name, want, err)
				require.Equal(t, errors.Is(want, diff.ErrInvalidLayer), errors.Is(err, diff.ErrInvalidLayer), "%.300v", err)
				fstest.RequireEqual(t, tree, got, name)
			}
		})
	}
	require.Greater(t, accepted, checks/10)
}

// randomEntries returns entries with few different names. Most names of
// directories differ from those of files; otherwise few layers would be valid.
func randomEntries(rnd *rand.Rand, n int) (entries []fstest.Entry) {
	var files []string
	dir := func() string {
		p := string(rune('a' + rnd.IntN(3)))
		for rnd.IntN(2) == 0 {
			p += "/" + string(rune('a'+rnd.IntN(3)))
		}
		return p
	}
	file := func() string {
		if rnd.IntN(30) == 0 {
			return dir()
		}
		p := string(rune('p' + rnd.IntN(4)))
		if rnd.IntN(4) > 0 {
			p = dir() + "/" + p
		}
		files = append(files, p)
		return p
	}
	for i := range n {
		switch rnd.IntN(12) {
		case 0:
			entries = append(entries, fstest.Dir(dir()))
		case 1, 2:
			to := dir()
			for rnd.IntN(3) == 0 {
				to = "../" + to
			}
			p := file()
			entries = append(entries, fstest.Symlink(p, to))
			if rnd.IntN(2) == 0 {
				entries = append(entries, fstest.File(p+"/q", fmt.Sprint(i)))
			}
		case 3, 4, 5:
			if len(files) == 0 {
				continue
			}
			target := files[rnd.IntN(len(files))]
			entries = append(entries, fstest.Link(file(), target))
		case 6:
			entries = append(entries, fstest.Whiteout(file()))
		case 7:
			name := fmt.Sprint(".wh..wh.plnk/", rnd.IntN(2))
			entries = append(entries, fstest.File(name, fmt.Sprint(i)), fstest.Link(file(), name))
		case 8:
			if p := dir(); rnd.IntN(6) == 0 && len(files) > 0 {
				// A link to the file replaces the directory that contains the file.
				entries = append(entries, fstest.Dir(p), fstest.File(p+"/p", ""), fstest.Link(p, p+"/p"), fstest.Dir(p))
			}
		default:
			entries = append(entries, fstest.File(file(), strings.Repeat(fmt.Sprint(i, " "), rnd.IntN(3000))))
		}
	}
	return entries
}
