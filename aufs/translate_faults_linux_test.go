package aufs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

func requireNothingLeft(t *testing.T, tr *translator, id driver.ID) {
	t.Helper()
	for _, s := range tr.stores() {
		_, err := s.Load(id)
		require.ErrorIs(t, err, driver.ErrNotFound)
		left, err := filepath.Glob(s.Root() + "/.new-*")
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestAFullDiskLeavesNothingOfATranslation(t *testing.T) {
	for name, f := range map[string]driver.Fallbacks{"overlay": {}, "merged copy": {NoOverlay: true}} {
		t.Run(name, func(t *testing.T) {
			b := newBranches(t)
			b.dir = fstest.ScratchSize(t, fstest.Tmpfs, 8)
			root := b.add()
			for i := range 20 {
				makeFile(t, root, fmt.Sprintf("d%d/f=%s", i, strings.Repeat("x", 100_000)))
				// Overlay's own attributes make the file a copy.
				require.NoError(t, setAny(fmt.Sprintf("%s/d%d/f", root, i)))
			}
			tr := b.translator(driver.Options{Fallbacks: f})
			o, err := tr.probe(t.Context())
			require.NoError(t, err)
			if o.lacks == nil && !o.features.Escapes {
				t.Skip("overlay hides the attributes that make files copied before Linux 6.7")
			}
			filler := filepath.Join(b.dir, "filler")
			err = os.WriteFile(filler, make([]byte, 5<<20), 0o600)
			require.NoError(t, err)
			_, err = tr.mount(t.Context(), b.layersOf())
			require.ErrorIs(t, err, unix.ENOSPC)
			requireNothingLeft(t, tr, b.layersOf().ids[0])
			require.NoError(t, os.Remove(filler))
			b.requireShown(tr, "and then it works")
		})
	}
}

// setAny sets attributes that overlay, if it can be used, takes for its own. A
// tmpfs has no user attributes before Linux 6.6; then overlay uses trusted
// attributes.
func setAny(path string) error {
	trusted := unix.Setxattr(path, "trusted.overlay.x", []byte("1"), 0)
	user := unix.Setxattr(path, "user.overlay.x", []byte("1"), 0)
	switch {
	case errors.Is(trusted, unix.EPERM):
		return user
	case errors.Is(user, unix.EOPNOTSUPP):
		return trusted
	}
	return errors.Join(trusted, user)
}

func TestWhatAKilledProcessLeftOfATranslationIsMadeAnewAndCleanedUp(t *testing.T) {
	inMemory(t)
	b := newBranches(t, "a=1", "b=2")
	tr := b.translator(driver.Options{})
	left := filepath.Join(tr.trees[whiteout.Overlay].Root(), ".new-b0-1")
	require.NoError(t, os.MkdirAll(left+"/fs/half", 0o700))
	b.requireShown(tr, "")
	require.NoError(t, tr.cleanup(t.Context(), func() ([]layers, error) { return []layers{b.layersOf()}, nil }))
	require.NoDirExists(t, left)
}
