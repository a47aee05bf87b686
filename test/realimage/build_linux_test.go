package realimage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// tag is the name of the image in its layout.
const tag = "real"

// An image is one image in the three forms that people hand around.
type image struct {
	layout    string // OCI layout directory
	reference string // layout:tag
	forms     map[string]string
}

// buildImage makes an image of four layers: a distribution, changes that umoci
// found by comparing directories, a directory that umoci replaced with an
// opaque mark, and a layer written by hand.
func buildImage(t *testing.T, base string) image {
	t.Helper()
	dir := t.TempDir()
	img := image{layout: filepath.Join(dir, "layout")}
	img.reference = img.layout + ":" + tag

	run(t, "umoci", "init", "--layout", img.layout)
	run(t, "umoci", "new", "--image", img.reference)
	run(t, "umoci", "raw", "add-layer", "--image", img.reference, base)

	bundle := filepath.Join(dir, "bundle")
	run(t, "umoci", "unpack", "--image", img.reference, bundle)
	edit(t, filepath.Join(bundle, "rootfs"))
	run(t, "umoci", "repack", "--image", img.reference, bundle)

	zones := filepath.Join(dir, "zones")
	require.NoError(t, os.MkdirAll(filepath.Join(zones, "Here"), 0o755))
	writeFile(t, filepath.Join(zones, "Here", "Now"), "the only zone\n")
	run(t, "umoci", "insert", "--image", img.reference, "--opaque", zones, "/usr/share/zoneinfo")
	run(t, "umoci", "insert", "--image", img.reference, "--whiteout", "/usr/share/pam")

	byHand := filepath.Join(dir, "by-hand.tar")
	require.NoError(t, os.WriteFile(byHand, fstest.Layer(t, handWritten()...), 0o600))
	run(t, "umoci", "raw", "add-layer", "--image", img.reference, byHand)
	run(t, "umoci", "config", "--image", img.reference, "--config.cmd", "/bin/sh")

	ociArchive := filepath.Join(dir, "image.oci.tar")
	dockerArchive := filepath.Join(dir, "image.docker.tar")
	source := "oci:" + img.reference
	run(t, "skopeo", "--insecure-policy", "copy", "-q", source, "oci-archive:"+ociArchive+":"+tag)
	run(t, "skopeo", "--insecure-policy", "copy", "-q", source, "docker-archive:"+dockerArchive+":"+tag+":latest")
	img.forms = map[string]string{"OCI layout": img.layout, "oci-archive": ociArchive, "docker-archive": dockerArchive}
	return img
}

// edit makes changes of every kind in an unpacked root file system.
func edit(t *testing.T, root string) {
	t.Helper()
	at := func(p string) string { return filepath.Join(root, p) }

	// Deletions: a file, a tree, a symlink.
	require.NoError(t, os.Remove(at("etc/issue.net")))
	require.NoError(t, os.RemoveAll(at("usr/share/doc")))
	require.NoError(t, os.Remove(at("etc/alternatives/awk")))

	// Replacements: content, and one type by another in each direction.
	writeFile(t, at("etc/motd"), "layered\n")
	require.NoError(t, os.Remove(at("etc/issue")))
	require.NoError(t, os.MkdirAll(at("etc/issue/was"), 0o750))
	writeFile(t, at("etc/issue/was/a-file"), "now a directory\n")
	require.NoError(t, os.RemoveAll(at("usr/share/locale")))
	writeFile(t, at("usr/share/locale"), "was a directory\n")
	require.NoError(t, os.RemoveAll(at("usr/share/man")))
	require.NoError(t, os.Symlink("../lib", at("usr/share/man")))
	require.NoError(t, os.Remove(at("etc/os-release")))
	require.NoError(t, os.Mkdir(at("etc/os-release"), 0o700))

	// Hard links: among new names, and to a name that was there.
	writeFile(t, at("srv/one"), "three names\n")
	require.NoError(t, os.Link(at("srv/one"), at("srv/two")))
	require.NoError(t, os.Link(at("srv/one"), at("opt/three")))
	require.NoError(t, os.Link(at("etc/debian_version"), at("srv/version")))

	// Special files, long names, owners, times, xattrs, capabilities.
	require.NoError(t, unix.Mkfifo(at("srv/fifo"), 0o640))
	require.NoError(t, unix.Mknod(at("srv/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	require.NoError(t, unix.Mknod(at("srv/block"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 300))))
	require.NoError(t, os.Symlink("/nowhere/"+strings.Repeat("long", 60), at("srv/dangling")))
	long := at("srv/" + strings.Repeat("d", 200))
	require.NoError(t, os.Mkdir(long, 0o755))
	writeFile(t, filepath.Join(long, strings.Repeat("ü", 100)), "long names\n")
	writeFile(t, at("srv/owned"), "large ids\n")
	require.NoError(t, os.Chown(at("srv/owned"), 3_000_000_000, 4_000_000_000))
	require.NoError(t, os.Chmod(at("srv/owned"), 0o4751|os.ModeSetuid))
	writeFile(t, at("srv/able"), "capable\n")
	require.NoError(t, unix.Setxattr(at("srv/able"), "user.note", []byte("x\x00y"), 0))
	require.NoError(t, unix.Setxattr(at("srv/able"), "security.capability",
		[]byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	require.NoError(t, unix.Setxattr(at("srv"), "user.note", []byte("on a directory"), 0))
	writeFile(t, at("srv/old"), "before the epoch\n")
	past := time.Unix(-86_400, 0)
	require.NoError(t, os.Chtimes(at("srv/old"), past, past))
}

// optMtime is what the last layer says of /opt.
var optMtime = time.Unix(1_111_111_111, 222_222_222)

// handWritten is a layer of what umoci never writes itself, as far as umoci
// reads it as the specification says.
func handWritten() []fstest.Entry {
	return []fstest.Entry{
		// Nanoseconds, an emptied and refilled directory, a name that comes back.
		fstest.Dir("usr/share/doc"),
		fstest.File("usr/share/doc/README", "came back\n").WithMtime(1_234_567_890, 987_654_321),
		fstest.Dir("opt").WithMode(0o1777).WithMtime(optMtime.Unix(), int64(optMtime.Nanosecond())),
		fstest.File("opt/names/first", "in the layer\n"),
		fstest.Link("opt/names/second", "opt/names/first"),
		fstest.Link("srv/again", "srv/old"),
		fstest.Whiteout("opt/three"),
		fstest.Whiteout("etc/issue"),
		fstest.Symlink("opt/link", "names/first").WithOwner(12, 34),
		fstest.Fifo("opt/fifo").WithMode(0o600),
		fstest.Char("opt/zero", 1, 5).WithMode(0o666),
		fstest.File("opt/setgid", "#!/bin/sh\n").WithMode(0o2755).WithOwner(0, 50).
			WithXattr("user.empty", "").WithXattr("user.binary", "\x01\xff"),
	}
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(content), 0o644))
}
