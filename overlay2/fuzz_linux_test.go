package overlay2

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// FuzzView makes three small layers from the input. Overlay's attributes and
// whiteouts can be in places where the kernel would not put them. For each name
// it compares the view with the kernel's own overlay of the same directories:
// both must show the same file, or both an error. The overlay is never attached
// to a mount point, so it ends with the process.
func FuzzView(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 0, 1, 1, 4, 1, 9, 4, 2, 1, 16, 1})                           // a redirect
	f.Add([]byte{1, 0, 5, 1, 1, 0, 5, 2, 2, 2, 5, 0, 8, 2, 1, 1})                // a whiteout, an opaque directory
	f.Add([]byte{1, 0, 1, 3, 1, 1, 1, 0, 10, 1, 1, 0, 1, 2, 1, 0, 10, 2, 1, 0})  // metacopy
	f.Add([]byte{1, 0, 5, 3, 1, 2, 5, 0, 8, 2, 1, 2, 11, 2, 5, 0, 7, 2, 9, 200}) // whiteouts as files
	f.Add([]byte{1, 0, 6, 2, 0, 1, 1, 0, 9, 1, 1, 18})                           // a redirect with a NUL
	requireDetachedOverlay(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		dir := fstest.MemoryDir(t)
		var layers []string // uppermost first
		for _, name := range []string{"2", "1", "0"} {
			layers = append(layers, filepath.Join(dir, name))
			require.NoError(t, os.Mkdir(layers[len(layers)-1], 0o755))
		}
		story := craft(layers, input)
		layers = append(layers, newEmpty(t, dir)) // so that the lowest crafted layer has a layer below it, too
		v, err := openStack(layers, marks{whiteout.Overlay}, rootfd.Options{})
		require.NoError(t, err)
		defer v.Close()
		mounted, err := detachedOverlay(layers)
		require.NoError(t, err)
		defer unix.Close(mounted)
		root, err := v.Root()
		require.NoError(t, err)
		defer root.Close()
		got, want := map[string]string{}, map[string]string{}
		viewed(root, "", got)
		shown(fmt.Sprintf("/proc/self/fd/%d", mounted), "", want)
		for p, what := range want {
			switch {
			case what == ghost && got[p] == "":
				delete(want, p)
			case what == ghost:
				want[p] = anError
			}
		}
		for _, p := range slices.Sorted(maps.Keys(want)) {
			require.Equal(t, want[p], got[p], "/%s after\n%s", p, strings.Join(story, "\n"))
		}
		require.Equal(t, want, got, strings.Join(story, "\n"))
	})
}

func newEmpty(t *testing.T, dir string) string {
	t.Helper()
	empty := filepath.Join(dir, "e")
	require.NoError(t, os.Mkdir(empty, 0o755))
	return empty
}

// requireDetachedOverlay skips the test if overlays cannot be made.
func requireDetachedOverlay(f *testing.F) {
	f.Helper()
	dir := fstest.MemoryDir(f)
	lowers := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	for _, l := range lowers {
		require.NoError(f, os.Mkdir(l, 0o755))
	}
	fd, err := detachedOverlay(lowers)
	if err == nil {
		err = errors.Join(unix.Close(fd), unix.Mknod(filepath.Join(dir, "w"), unix.S_IFCHR, 0), os.WriteFile(lowers[0]+"/w", nil, 0o600),
			unix.Lsetxattr(lowers[0]+"/w", "trusted.overlay.whiteout", nil, 0))
	}
	if err != nil {
		f.Skipf("an overlay of lower directories in %s cannot be made: %v", dir, err)
	}
	fd, err = detachedOverlay(lowers)
	require.NoError(f, err)
	defer unix.Close(fd)
	if _, err := os.Lstat(fmt.Sprintf("/proc/self/fd/%d/w", fd)); err == nil {
		f.Skip("this kernel's overlay knows fewer attributes than the view (they are those of Linux 6.8)")
	}
}

// detachedOverlay makes an overlay of lower directories, uppermost first.
func detachedOverlay(lowers []string) (fd int, err error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	for _, o := range [][2]string{
		{"source", "overlay"}, {"lowerdir", strings.Join(lowers, ":")}, {"index", "off"}, {"redirect_dir", "on"}, {"metacopy", "on"},
	} {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return -1, fmt.Errorf("%s: %w", o[0], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create: %w", err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
}

// Values of attributes that are written to layers.
var (
	craftedNames  = []string{"opaque", "redirect", "metacopy", "whiteout", "origin", "impure", "nlink", "overlay.opaque", "overlay.redirect"}
	craftedValues = []string{
		"y", "x", "", "n", "a", "b", "/a", "/a/b", "/b/a/c", "/c", "..", ".", "/", "a/b", "/../a", "/a//b", "/a/", "\x00", "a\x00", "nowhere", "/nowhere/x",
		"yy", "\x00\x04\x00\x00", strings.Repeat("r", 256),
	}
)

// craft makes files in layers, uppermost first, from four bytes of input each,
// and returns what it did. It skips operations that fail.
func craft(layers []string, input []byte) (story []string) {
	for ; len(input) >= 4 && len(story) < 40; input = input[4:] {
		op, at := input[0], input[1]%3
		names := []string{string("abc"[input[2]%3])}
		for rest := input[2] / 3; len(names) < 3 && rest%4 != 0; rest /= 4 {
			names = append(names, string("abc"[rest%4-1]))
		}
		p := path.Join(names...)
		what, err := craftOne(filepath.Join(layers[2-at], p), op, input[3])
		story = append(story, fmt.Sprintf("layer %d: %s %s: %v", at, what, p, err))
	}
	return story
}

// craftOne does one operation on a path.
func craftOne(p string, op, value byte) (what string, err error) {
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return "parents", err
	}
	switch op % 13 {
	case 0:
		return "directory", os.Mkdir(p, 0o700)
	case 1, 2:
		return "file", os.WriteFile(p, []byte(strings.Repeat("b", int(value%4))), 0o644)
	case 3:
		return "device", unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	case 4, 5:
		return "whiteout", unix.Mknod(p, unix.S_IFCHR, 0)
	case 6:
		return "symlink", os.Symlink("a", p)
	case 7:
		return "remove", os.RemoveAll(p)
	default:
		name := "trusted.overlay." + craftedNames[int(op%13-8+5*(value/32))%len(craftedNames)]
		text := craftedValues[int(value%32)%len(craftedValues)]
		return fmt.Sprintf("%s=%q", name, text), unix.Lsetxattr(p, name, []byte(text), 0)
	}
}

const anError = "an error"

// described returns the description of one file. If there is an error, it says
// only that.
func described(n diff.Node, target, body string, xattrs map[string]string, err error) string {
	if err != nil {
		return anError
	}
	size := n.Size
	if !n.IsRegular() {
		size = 0
	}
	if !n.IsDevice() {
		n.Rdev = 0
	}
	return fmt.Sprintf("mode %o owner %d:%d size %d rdev %x mtime %s -> %q body %q xattrs %q",
		n.Mode, n.UID, n.GID, size, n.Rdev, n.Mtime.UTC().Format(time.RFC3339Nano), target, body, xattrs)
}

// viewed describes everything below a directory of a view.
func viewed(d diff.Dir, at string, all map[string]string) {
	names, err := d.Names()
	if err != nil {
		all[at] = anError
		return
	}
	for _, name := range names {
		p := path.Join(at, name)
		n, err := d.Lookup(name)
		xattrs, xattrErr := d.LookupXattrs(name)
		target, body := "", ""
		var readErr error
		var sub diff.Dir
		switch {
		case n.IsDir():
			sub, readErr = d.OpenDir(name)
		case n.Type() == diff.TypeSymlink:
			target, readErr = d.Readlink(name)
		case n.IsRegular():
			var r io.ReadCloser
			if r, readErr = d.Open(name); readErr == nil {
				var raw []byte
				raw, readErr = io.ReadAll(r)
				readErr = errors.Join(readErr, r.Close())
				body = string(raw)
			}
		}
		all[p] = described(n, target, body, xattrs, errors.Join(err, xattrErr, readErr))
		if sub != nil {
			if all[p] != anError {
				viewed(sub, p, all)
			}
			sub.Close()
		}
	}
}

// ghost is a name that the kernel lists but cannot look up, such as a whiteout
// in a directory that merges with nothing. The view has no such name, or
// returns an error.
const ghost = "a ghost"

// shown describes everything below a mounted directory.
func shown(root, at string, all map[string]string) {
	entries, err := os.ReadDir(filepath.Join(root, at) + "/.")
	if err != nil {
		all[at] = anError
		return
	}
	for _, e := range entries {
		p := path.Join(at, e.Name())
		full := root + "/" + p
		var st unix.Stat_t
		err := unix.Lstat(full, &st)
		if errors.Is(err, unix.ENOENT) {
			all[p] = ghost
			continue
		}
		n := diff.Node{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size, Rdev: uint64(st.Rdev), Mtime: time.Unix(st.Mtim.Unix())} //nolint:unconvert // 32 bits on some architectures
		target, body := "", ""
		var xattrs map[string]string
		if err == nil {
			xattrs, err = listed(full)
		}
		switch {
		case err != nil:
		case n.IsDir():
			_, err = os.ReadDir(full)
		case n.Type() == diff.TypeSymlink:
			target, err = os.Readlink(full)
		case n.IsRegular():
			var raw []byte
			raw, err = os.ReadFile(full)
			body = string(raw)
		}
		all[p] = described(n, target, body, xattrs, err)
		if n.IsDir() && err == nil {
			shown(root, p, all)
		}
	}
}

// listed returns the extended attributes of a path.
func listed(p string) (map[string]string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, list)
	if err != nil {
		return nil, err
	}
	attrs := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return nil, err
		}
		attrs[name] = string(value[:n])
	}
	return attrs, nil
}
