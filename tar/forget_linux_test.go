package tar

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// requireSameWhenForgetful applies a layer to an empty tree with and without forgetting.
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

// A symbolic link is in the making when its entry is done, so it cannot be found on the
// disk yet.
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

// Hard links to a symbolic link have its target, too. What is taken off for them when
// they are forgotten must have been added before, or the limit is none.
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

// The rest of a stream that has to be read twice is kept on the disk, where its zeros take
// no space.
func TestAStreamThatIsReadTwiceKeepsItsHoles(t *testing.T) {
	requireRoot(t)
	b := newPlainBed(t, fstest.ScratchSize(t, fstest.Tmpfs, 32))
	_, err := b.apply(t, fstest.Layer(t, fstest.Dir("usr"), fstest.Symlink("lib", "usr")), UnpackOptions{})
	require.NoError(t, err)
	_, err = b.apply(t, fstest.Layer(t, fstest.File("lib/x", "x"), fstest.File("zeros", strings.Repeat("\x00", 48<<20))), UnpackOptions{})
	require.NoError(t, err)
	require.Equal(t, "x", b.tree(t)["usr/x"].Body)
}
