package snapshotter

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/tar"
)

// Commit refuses a file that no layer tar can contain, while the file can still
// be changed.
func TestACommitRefusesAFileThatNoLayerCanHold(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root: layers have the owners that they name")
	}
	for name, set := range map[string]func(path string) error{
		"more names of attributes than can be listed": func(path string) error {
			for i := range 400 {
				if err := unix.Setxattr(path, fmt.Sprintf("user.%s%d", strings.Repeat("n", 200), i), nil, 0); err != nil {
					return err
				}
			}
			return nil
		},
		"more attributes than a header holds": func(path string) error {
			for i := range 20 {
				if err := unix.Setxattr(path, fmt.Sprintf("user.%d", i), make([]byte, 60_000), 0); err != nil {
					return err
				}
			}
			return nil
		},
		"a path longer than a header holds": func(path string) error {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
				return err
			}
			fd, err := sys.OpenDirat(unix.AT_FDCWD, path)
			name := strings.Repeat("d", 255)
			for range tar.MaxPath/len(name) + 1 {
				above := fd
				if err = sys.Mkdirat(above, name, 0o755); err == nil {
					fd, err = sys.OpenDirat(above, name)
				}
				if err = errors.Join(err, unix.Close(above)); err != nil {
					return err
				}
			}
			return errors.Join(err, unix.Close(fd))
		},
	} {
		for backend, dir := range map[string]string{"vfs": "tree", "overlay2": "fs"} {
			t.Run(backend+", "+name, func(t *testing.T) {
				// With and without the digest of a small layer.
				all := []Options{{Driver: backend}, {Driver: backend, DigestLimit: -1}}
				if strings.Contains(name, "path") { // it takes seconds
					all = all[:1]
				}
				for _, opts := range all {
					s := openAt(t, freshDir(t, fstest.Scratch(t, fstest.Tmpfs)), opts)
					require.NoError(t, s.Create(t.Context(), "key", ""))
					_, err := s.Apply(t.Context(), "key", bytes.NewReader(fstest.Layer(t, fstest.File("f", "f"))), driver.ApplyOptions{})
					require.NoError(t, err)
					row, err := s.row("key")
					require.NoError(t, err)
					file := filepath.Join(s.Root(), backend, row.Layer, dir, "odd")
					require.NoError(t, os.WriteFile(file, nil, 0o600))
					if err := set(file); err != nil {
						t.Skipf("a tmpfs takes no such attributes here: %v", err)
					}
					err = s.Commit(t.Context(), "done", "key")
					require.ErrorIs(t, err, diff.ErrNotCarried)
					require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
					require.ErrorContains(t, err, "odd")
					require.NoError(t, rmtree.Remove(file))
					require.NoError(t, s.Commit(t.Context(), "done", "key"), "after the file has gone")
				}
			})
		}
	}
}
