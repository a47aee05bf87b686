package layerdir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/tar"
)

// A faultyView stands for a fault in the code that reads a layer.
type faultyView struct{ act func() error }

func (f faultyView) Root() (diff.Dir, error) { return nil, f.act() }
func (f faultyView) Close() error            { return nil }

// A fault in the code that unpacks, merges or diffs reaches no file outside of the store, and
// what the caller gives is not confined.
func TestAFaultWhileALayerIsReadReachesNothingElse(t *testing.T) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < 2 {
		t.Skip("no Landlock of Linux 5.19 or later")
	}
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	read := func() error { _, err := os.ReadFile(secret); return err }
	write := func() error { return os.WriteFile(filepath.Join(outside, "new"), nil, 0o600) }
	for name, act := range map[string]func() error{"read": read, "write": write} {
		for _, loose := range []bool{false, true} {
			want := error(unix.EACCES)
			if loose {
				want = errActed
			}
			acts := func() error {
				if err := act(); err != nil {
					return err
				}
				return errActed
			}
			t.Run(name, func(t *testing.T) {
				s, err := OpenFor(t.TempDir(), driver.Options{Fallbacks: driver.Fallbacks{NoConfine: loose}})
				require.NoError(t, err)
				defer s.Close()
				require.NoError(t, s.Create("a", Meta{}, func(dir string) error { return os.Mkdir(dir+"/fs", 0o755) }))
				staging := func() *os.File {
					dir, remove, err := s.Staging("a")
					require.NoError(t, err)
					t.Cleanup(remove)
					f, err := os.Open(dir)
					require.NoError(t, err)
					t.Cleanup(func() { require.NoError(t, f.Close()) })
					return f
				}
				layer := func() io.Reader {
					return bytes.NewReader(fstest.Layer(t, fstest.File("d/f", "f"), fstest.Link("g", "h")))
				}
				_, _, err = s.Unpack(t.Context(), "a", staging(), layer(), tar.UnpackOptions{Parents: faultyView{acts}})
				require.ErrorIs(t, err, want)

				at := staging()
				plain := bytes.NewReader(fstest.Layer(t, fstest.File("d/f", "f"), fstest.Whiteout("x")))
				delta, _, err := s.Unpack(t.Context(), "a", at, plain, tar.UnpackOptions{})
				require.NoError(t, err)
				root, err := os.Open(s.Path("a", "fs"))
				require.NoError(t, err)
				defer root.Close()
				require.ErrorIs(t, s.Merge(t.Context(), "a", at, delta, tar.Target{Root: root, Below: faultyView{acts}}), want)

				changes := func(_ context.Context, warn func(string, string)) iter.Seq2[diff.Change, error] {
					return func(yield func(diff.Change, error) bool) {
						warn("f", "a warning")
						yield(diff.Change{}, acts())
					}
				}
				var warned error = errors.New("no warning")
				_, err = s.WriteDiff(t.Context(), "a", nil, io.Discard, driver.DiffOptions{Warn: func(string, string) { warned = act() }}, changes)
				require.ErrorIs(t, err, want)
				require.NoError(t, warned, "the caller's function")
			})
		}
	}
}

var errActed = errors.New("it could")
