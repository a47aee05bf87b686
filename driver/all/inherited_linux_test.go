package all_test

import (
	stdtar "archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// What the directory above a store passes on to all that is made in it (a
// default access control list, the group) is no part of a layer, nor is what
// the umask of the process takes.
func TestWhatTheDirectoryAbovePassesOnIsInNoLayer(t *testing.T) {
	for _, fsys := range fstest.All() {
		for _, b := range all.Backends() {
			t.Run(fmt.Sprintf("%s/%s", b.Name, fsys), func(t *testing.T) {
				scratch := fstest.Scratch(t, fsys)
				if err := alltest.Works(t, scratch, b.Name); err != nil {
					t.Skipf("backend %s does not work on %s: %v", b.Name, fsys, err)
				}
				clean, above := filepath.Join(scratch, "clean"), filepath.Join(scratch, "above")
				require.NoError(t, errors.Join(os.Mkdir(clean, 0o700), os.Mkdir(above, 0o700)))
				passOn(t, above)
				want := headersIn(t, b, clean)
				require.Equal(t, want, headersIn(t, b, above))
				require.Equal(t, int64(0o640), want["base: d/secret"].Mode)

				masked := filepath.Join(scratch, "masked")
				require.NoError(t, os.Mkdir(masked, 0o700))
				old := unix.Umask(0o077)
				defer unix.Umask(old)
				got := headersIn(t, b, masked)
				maps.DeleteFunc(got, func(name string, _ stdtar.Header) bool { return strings.HasPrefix(name, "written: ") })
				for name, h := range got { // what a program makes through a mount is its own affair
					require.Equal(t, want[name], h, "with a mask, %s", name)
				}
				require.NotEmpty(t, got)
			})
		}
	}
}

// passOn gives a directory what those that are made in it inherit.
func passOn(t *testing.T, dir string) {
	t.Helper()
	const anybody = ^uint32(0)
	list := []byte{2, 0, 0, 0} // posix_acl_xattr.h: user::rwx, user:1:rwx, group::r-x, mask::rwx, other::r-x
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, anybody}, {2, 7, 1}, {4, 5, anybody}, {16, 7, anybody}, {32, 5, anybody}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.perm)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	require.NoError(t, os.Chown(dir, 0, 4711))
	require.NoError(t, os.Chmod(dir, 0o770|os.ModeSetgid))
	require.NoError(t, unix.Setxattr(dir, "system.posix_acl_default", list, 0))
}

// headersIn makes a store in a directory, with layers that are applied and that
// are written through a mount, and returns the headers of their diffs without
// the times, by layer and name.
func headersIn(t *testing.T, b all.Backend, dir string) map[string]stdtar.Header {
	t.Helper()
	ctx := t.Context()
	d, err := b.New(ctx, filepath.Join(dir, b.Name), driver.Options{})
	require.NoError(t, err)
	layer := fstest.Layer(t, fstest.Dir("d").WithMode(0o750), fstest.File("d/secret", "x").WithMode(0o640),
		fstest.File("shared", "x").WithMode(0o660), fstest.Symlink("link", "shared"), fstest.Fifo("fifo"))
	require.NoError(t, d.Create(ctx, "base", nil, driver.CreateOptions{}))
	_, err = d.ApplyDiff(ctx, "base", bytes.NewReader(layer), driver.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, d.Seal(ctx, "base"))
	layers := []driver.ID{"base", "written", "applied"}
	for _, id := range layers[1:] {
		require.NoError(t, d.Create(ctx, id, []driver.ID{"base"}, driver.CreateOptions{}))
	}
	_, err = d.ApplyDiff(ctx, "applied", bytes.NewReader(fstest.Layer(t, fstest.File("d/new", "x").WithMode(0o600))), driver.ApplyOptions{})
	require.NoError(t, err)
	if d.Properties().MountsWritable && fstest.CanMount(t) {
		mounts, err := d.Mount(ctx, "written", driver.MountOptions{})
		require.NoError(t, err)
		require.NoError(t, mount.WithTemp(ctx, mounts, func(root string) error {
			return errors.Join(os.Mkdir(root+"/made", 0o700), os.WriteFile(root+"/made/f", []byte("x"), 0o600),
				os.WriteFile(root+"/d/g", []byte("x"), 0o640), os.WriteFile(root+"/shared", []byte("more"), 0o600), os.Mkdir(root+"/d/e", 0o755))
		}))
	}
	headers := map[string]stdtar.Header{}
	for _, id := range layers {
		r := stdtar.NewReader(bytes.NewReader(diffOf(t, d, id)))
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			records := maps.Clone(h.PAXRecords)
			maps.DeleteFunc(records, func(k, _ string) bool { return slices.Contains([]string{"mtime", "atime", "ctime"}, k) })
			if len(records) == 0 {
				records = nil
			}
			headers[fmt.Sprintf("%s: %s", id, h.Name)] = stdtar.Header{
				Typeflag: h.Typeflag, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid, Size: h.Size, PAXRecords: records,
			}
		}
	}
	require.NoError(t, d.Close())
	return headers
}
