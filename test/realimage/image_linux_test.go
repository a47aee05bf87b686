package realimage

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestARealImage(t *testing.T) {
	requirements(t)
	img := buildImage(t, debian(t))
	want := unpackWithUmoci(t, img.reference)
	binary := buildSnapctl(t)

	for _, driver := range []string{"overlay2", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			for _, form := range []string{"OCI layout", "oci-archive", "docker-archive"} {
				t.Run(form+" gives the tree that umoci unpacks", func(t *testing.T) {
					s := newStore(t, binary, driver)
					s.snapctl(t, "import", "--name", "real", img.forms[form])
					target, umount := s.mount(t, "real")
					fstest.RequireEqual(t, want, fstest.FromPath(t, target), form)
					umount()
				})
			}
			t.Run("a container runs on a writable snapshot and its changes travel", func(t *testing.T) {
				s := newStore(t, binary, driver)
				s.snapctl(t, "import", "--name", "real", img.layout)
				containerAndBack(t, s)
			})
		})
	}
}

// unpackWithUmoci returns the tree of the image, or of one made from it, as
// umoci unpacks it where umoci is right.
func unpackWithUmoci(t *testing.T, reference string) fstest.Tree {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	run(t, "umoci", "raw", "unpack", "--image", reference, root)
	tree := fstest.FromPath(t, root)
	correct(t, tree)
	return tree
}

// correct puts right the three places in the image where umoci does not give
// what the layers say. Each takes umoci's wrong value for granted, so that this
// fails, and can be dropped, once umoci is mended.
func correct(t *testing.T, tree fstest.Tree) {
	t.Helper()
	// A directory has the times of its own entry; umoci leaves the time at
	// which it created a child.
	opt := tree["opt"]
	require.False(t, opt.Mtime.Equal(optMtime))
	opt.Mtime = optMtime
	tree["opt"] = opt
	// A directory that no layer describes has mtime 0; umoci's has the time of
	// unpacking.
	names := tree["opt/names"]
	require.False(t, names.Mtime.Equal(time.Unix(0, 0)))
	names.Mtime = time.Unix(0, 0)
	tree["opt/names"] = names
	// An empty xattr is an xattr; the tar reader umoci uses drops it.
	setgid := tree["opt/setgid"]
	require.NotContains(t, setgid.Xattrs, "user.empty")
	setgid.Xattrs["user.empty"] = ""
}

// containerAndBack runs a container on a writable snapshot, commits what it
// wrote, exports the image and has other programs read it.
func containerAndBack(t *testing.T, s store) {
	t.Helper()
	target, umount := s.mount(t, "--rw", "box", "real")
	out := runc(t, target, `
		set -e
		echo "hello from $(cat /etc/motd)"
		cat /opt/names/second /usr/share/zoneinfo/Here/Now
		test ! -e /etc/issue
		echo written > /srv/written
		rm /srv/two
		mv /srv/fifo /srv/pipe
		rm -r /usr/share/doc
		chmod 700 /opt/setgid
		mv /var/log /var/logs
	`)
	require.Equal(t, "hello from layered\nin the layer\nthe only zone\n", out)
	inside := fstest.FromPath(t, target)
	umount()

	changes := s.snapctl(t, "changes", "box")
	for _, line := range []string{
		"A /srv/written", "D /srv/two", "D /srv/fifo", "A /srv/pipe", "D /usr/share/doc", "M /opt/setgid", "D /var/log", "A /var/logs",
	} {
		require.Contains(t, changes, line+"\n")
	}

	s.snapctl(t, "commit", "boxed", "box")
	archive := filepath.Join(t.TempDir(), "boxed.tar")
	s.snapctl(t, "export", "--name", "boxed:latest", "boxed", archive)
	layout := filepath.Join(t.TempDir(), "layout")
	run(t, "skopeo", "--insecure-policy", "copy", "-q", fmt.Sprintf("oci-archive:%s:latest", archive), fmt.Sprintf("oci:%s:boxed", layout))
	fstest.RequireEqual(t, inside, unpackWithUmoci(t, layout+":boxed"), "the exported image, unpacked by umoci")
}
