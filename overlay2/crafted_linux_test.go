package overlay2

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// write makes a file in a layer, and its parent directories.
func write(t *testing.T, path, body string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(body), 0o644))
}

func whiteout00(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, unix.Mknod(path, unix.S_IFCHR, 0))
}

func mark(t *testing.T, path, name, value string) {
	t.Helper()
	require.NoError(t, unix.Lsetxattr(path, "trusted.overlay."+name, []byte(value), 0))
}

// TestCraftedLayersAreReadAsTheKernelReadsThem has cases that random edits on
// one kernel rarely produce.
func TestCraftedLayersAreReadAsTheKernelReadsThem(t *testing.T) {
	cases := map[string]func(t *testing.T, bottom, middle, top string){
		"whiteouts as files in a directory marked x": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/d/gone", "1")
			write(t, bottom+"/d/kept", "1")
			write(t, middle+"/d/gone", "")
			write(t, middle+"/d/empty", "")
			mark(t, middle+"/d/gone", "whiteout", "")
			mark(t, middle+"/d", "opaque", "x")
		},
		"an opaque directory in the middle": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/d/a", "1")
			write(t, middle+"/d/b", "1")
			write(t, top+"/d/c", "1")
			mark(t, middle+"/d", "opaque", "y")
		},
		"an opaque root is merged all the same": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/a", "1")
			mark(t, middle, "opaque", "y")
			mark(t, top, "opaque", "y")
		},
		"nothing below a file": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/d/a", "1")
			write(t, middle+"/d", "file")
			write(t, top+"/d/c", "1")
		},
		"an absolute redirect past an opaque directory": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/x/y/a", "1")
			require.NoError(t, os.MkdirAll(middle+"/p/q", 0o755))
			mark(t, middle+"/p", "opaque", "y")
			mark(t, middle+"/p/q", "redirect", "/x/y")
			require.NoError(t, os.MkdirAll(top+"/m", 0o755))
			mark(t, top+"/m", "redirect", "/p/q")
		},
		"a redirect on the way of a redirect": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/old/q/a", "1")
			require.NoError(t, os.MkdirAll(middle+"/new/q", 0o755))
			mark(t, middle+"/new", "redirect", "old")
			require.NoError(t, os.MkdirAll(top+"/m", 0o755))
			mark(t, top+"/m", "redirect", "/new/q")
		},
		"an absolute redirect that meets a whiteout": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/x/y/a", "1")
			whiteout00(t, middle+"/x")
			require.NoError(t, os.MkdirAll(top+"/m", 0o755))
			mark(t, top+"/m", "redirect", "/x/y")
		},
		"a body two layers down by an absolute redirect": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/x/body", "12345")
			write(t, middle+"/p/f", "")
			require.NoError(t, os.Truncate(middle+"/p/f", 5))
			mark(t, middle+"/p/f", "metacopy", "")
			mark(t, middle+"/p/f", "redirect", "/x/body")
			write(t, top+"/p/f", "")
			require.NoError(t, os.Truncate(top+"/p/f", 5))
			mark(t, top+"/p/f", "metacopy", "")
		},
		"redirects to no name, where nothing is below": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/d/e/a", "1")
			for name, to := range map[string]string{"ends": "\x00\x04\x00\x00", "dot": ".", "dots": ".."} {
				write(t, top+"/d/"+name+"/b", "2")
				mark(t, top+"/d/"+name, "redirect", to)
			}
			mark(t, top+"/d", "opaque", "y")
		},
		"a redirect that climbs where a file is in the way": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/x", "1")
			write(t, bottom+"/d/b", "1")
			write(t, top+"/d/c", "2")
			mark(t, top+"/d", "redirect", "/none/../d")
		},
		"escaped and active attributes": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/d/a", "1")
			write(t, top+"/d/f", "1")
			mark(t, top+"/d", "origin", "anything")
			mark(t, top+"/d/f", "overlay.opaque", "y")
			require.NoError(t, unix.Setxattr(top+"/d/f", "user.overlay.opaque", []byte("y"), 0))
		},
		"a device that is no whiteout": func(t *testing.T, bottom, middle, top string) {
			write(t, bottom+"/null", "1")
			require.NoError(t, unix.Mknod(top+"/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		},
	}
	needs := map[string]func(*testing.T){
		"whiteouts as files in a directory marked x": needXattrWhiteouts,
		"escaped and active attributes":              func(t *testing.T) { open(t, driver.Options{}).needEscapes(t) },
	}
	for name, build := range cases {
		t.Run(name, func(t *testing.T) {
			if need := needs[name]; need != nil {
				need(t)
			}
			k := newKernelStack(t, "redirect_dir=on", "metacopy=on")
			k.add()
			k.add()
			build(t, k.layers[2], k.layers[1], k.layers[0])
			k.check(name)
		})
	}
}

// needXattrWhiteouts skips the test if overlay does not know whiteouts that are
// empty files with an attribute; Linux 6.8 and later know them. The kernel
// itself never makes them.
func needXattrWhiteouts(t *testing.T) {
	t.Helper()
	k := newKernelStack(t)
	k.add()
	write(t, k.layers[1]+"/d/gone", "1")
	write(t, k.layers[0]+"/d/gone", "")
	mark(t, k.layers[0]+"/d/gone", "whiteout", "")
	mark(t, k.layers[0]+"/d", "opaque", "x")
	if _, shown := k.shown()["d/gone"]; shown {
		t.Skip("this kernel's overlay knows no whiteouts that are files (known from Linux 6.8 on)")
	}
}

func TestBrokenMarksAreErrorsAndNoGuesses(t *testing.T) {
	for name, build := range map[string]func(top string){
		"a redirect that climbs":      func(top string) { mark(t, top+"/d", "redirect", "../x") },
		"a redirect of two parts":     func(top string) { mark(t, top+"/d", "redirect", "x/y") },
		"an absolute one that climbs": func(top string) { mark(t, top+"/d", "redirect", "/../x") },
		"an absolute one with a gap":  func(top string) { mark(t, top+"/d", "redirect", "/x//y") },
		"a redirect to nothing":       func(top string) { mark(t, top+"/d", "redirect", "") },
		"one that ends at once":       func(top string) { mark(t, top+"/d", "redirect", "\x00x") },
		"one to the directory itself": func(top string) { mark(t, top+"/d", "redirect", ".") },
		"one to the one above":        func(top string) { mark(t, top+"/d", "redirect", "..") },
		"a body that is nowhere":      func(top string) { mark(t, top+"/f", "metacopy", "") },
		"a metacopy mark cut short": func(top string) {
			write(t, top+"/x/y/a", "1")
			mark(t, top+"/x/y/a", "metacopy", "\x00\x04\x00")
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernelStack(t, "redirect_dir=on", "metacopy=on")
			k.add()
			write(t, k.layers[1]+"/x/y/a", "1")
			write(t, k.layers[0]+"/f", "1")
			require.NoError(t, os.Mkdir(k.layers[0]+"/d", 0o755))
			build(k.layers[0])
			_, err := fstest.ReadView(k.view())
			require.ErrorIs(t, err, unix.EIO)
		})
	}
}

// The mark that a directory has such whiteouts affects only its listing, as in
// the kernel from Linux 6.8 on.
func TestAFileThatIsMarkedAsAWhiteoutHidesItsNameInAnyDirectory(t *testing.T) {
	k := newKernelStack(t)
	k.add()
	write(t, k.layers[1]+"/a", "1")
	write(t, k.layers[0]+"/a", "")
	mark(t, k.layers[0]+"/a", "whiteout", "")
	root, err := k.view().Root()
	require.NoError(t, err)
	defer root.Close()
	_, err = root.Lookup("a")
	require.ErrorIs(t, err, os.ErrNotExist)
}
