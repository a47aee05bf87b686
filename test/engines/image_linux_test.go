package engines

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// tag is the tag of the test image in every place.
const tag = "v1"

// An image is the test image in the forms that engines take.
type image struct {
	layout  string      // OCI layout, with the tag
	archive string      // oci-archive of the same
	layers  int         // how many it has
	tree    fstest.Tree // what its layers mean
}

var applets = []string{"sh", "cat", "chmod", "cp", "echo", "grep", "id", "ln", "ls", "mkdir", "mv", "rm", "sleep", "stat", "sync", "test", "touch", "true"}

// layers are the layers of the test image: a small system, and on it whiteouts,
// an opaque directory, hard links, changed types, xattrs, capabilities, setuid.
// Every directory that a layer writes to has an entry in it, since engines'
// appliers give different times to those that have none.
func layers(t testing.TB) [][]fstest.Entry {
	t.Helper()
	busybox, err := os.ReadFile(program(t, "busybox"))
	require.NoError(t, err)
	base := []fstest.Entry{
		fstest.Dir("bin"), fstest.File("bin/busybox", string(busybox)).WithMode(0o755),
		fstest.Dir("dev"), fstest.Dir("proc"), fstest.Dir("sys"), fstest.Dir("root").WithMode(0o700), fstest.Dir("tmp").WithMode(0o1777),
		fstest.Dir("etc"), fstest.File("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), fstest.File("etc/group", "root:x:0:\n"),
		fstest.File("etc/motd", "first\n"), fstest.Dir("etc/conf.d"), fstest.File("etc/conf.d/a", "a\n"), fstest.File("etc/conf.d/b", "b\n"),
		fstest.Dir("usr"), fstest.Dir("usr/lib"), fstest.File("usr/lib/lib.so", "code\n"), fstest.Symlink("lib", "usr/lib"),
		fstest.Dir("data"), fstest.Dir("data/old"), fstest.File("data/old/one", "1\n"), fstest.File("data/old/two", "2\n"),
		fstest.Dir("data/tree"), fstest.Dir("data/tree/deep"), fstest.File("data/tree/deep/file", "deep\n"),
		fstest.File("data/gone", "goes\n"), fstest.File("data/becomes-dir", "file\n"), fstest.Dir("data/becomes-file"),
		fstest.File("data/links-1", "three names\n"), hardLink("data/links-2", "data/links-1"), hardLink("data/links-3", "data/links-1"),
		fstest.Fifo("data/fifo"), fstest.Char("data/null", 1, 3).WithMode(0o666),
	}
	for _, applet := range applets {
		base = append(base, fstest.Symlink("bin/"+applet, "busybox"))
	}
	changes := []fstest.Entry{
		fstest.Dir("etc"), fstest.File("etc/motd", "second\n").WithMtime(1_200_000_000, 0),
		fstest.Dir("etc/conf.d"), fstest.Opaque("etc/conf.d"), fstest.File("etc/conf.d/c", "c\n"),
		fstest.Dir("data").WithMode(0o751), fstest.Whiteout("data/gone"), fstest.Whiteout("data/tree"), fstest.Whiteout("data/links-2"),
		fstest.Dir("data/old").WithMode(0o2755), fstest.Whiteout("data/old/one"),
		fstest.Whiteout("data/becomes-dir"), fstest.Dir("data/becomes-dir"), fstest.File("data/becomes-dir/x", "x\n"),
		fstest.Whiteout("data/becomes-file"), fstest.File("data/becomes-file", "file\n"),
	}
	attributes := []fstest.Entry{
		fstest.Dir("usr"), fstest.Dir("usr/bin"), fstest.File("usr/bin/setuid", "#!/bin/sh\n").WithMode(0o4755).WithOwner(12, 34),
		fstest.File("usr/bin/capable", "#!/bin/sh\n").WithMode(0o755).
			WithXattr("security.capability", "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		fstest.File("usr/bin/noted", "n\n").WithXattr("user.note", "kept\x00whole").WithOwner(100_000, 100_001),
		fstest.Dir("data").WithMode(0o751), fstest.File("data/gone", "came back\n"),
		fstest.Dir("data/many"),
	}
	for i := range 200 {
		attributes = append(attributes, fstest.File(fmt.Sprintf("data/many/%03d", i), strings.Repeat(fmt.Sprintln(i), 100)))
	}
	last := []fstest.Entry{fstest.Dir("etc"), fstest.File("etc/issue", "last\n"), fstest.Dir("data").WithMode(0o751), fstest.Whiteout("data/links-3")}
	return [][]fstest.Entry{base, changes, attributes, last}
}

// hardLink is a hard link whose entry has the attributes of the file, as tars
// have them: engines' appliers do not ignore what it says.
func hardLink(name, target string) fstest.Entry {
	return fstest.Link(name, target).WithMode(0o644).WithOwner(0, 0).WithMtime(fstest.Epoch.Unix(), int64(fstest.Epoch.Nanosecond()))
}

// testImage makes the test image.
func testImage(t testing.TB) image {
	t.Helper()
	return makeImage(t, layers(t))
}

// makeImage writes an image of these layers as an OCI layout, and has skopeo
// make an archive of it.
func makeImage(t testing.TB, layers [][]fstest.Entry) image {
	t.Helper()
	dir := t.TempDir()
	layout := filepath.Join(dir, "layout")
	config := ocispec.Image{
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config:   ocispec.ImageConfig{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin:/usr/bin"}},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	tree := model.New()
	for _, entries := range layers {
		layer := fstest.Layer(t, entries...)
		require.NoError(t, tree.Apply(entries))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(layer))
		manifest.Layers = append(manifest.Layers, writeBlob(t, layout, ocispec.MediaTypeImageLayerGzip, compressed(t, layer)))
	}
	manifest.Config = writeJSON(t, layout, ocispec.MediaTypeImageConfig, config)
	root := writeJSON(t, layout, ocispec.MediaTypeImageManifest, manifest)
	root.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	writeFile(t, filepath.Join(layout, ocispec.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{root}})
	require.NoError(t, err)
	writeFile(t, filepath.Join(layout, ocispec.ImageIndexFile), index)

	img := image{layout: layout + ":" + tag, archive: filepath.Join(dir, "image.tar"), layers: len(layers), tree: tree.Snapshot()}
	copyImage(t, "oci:"+img.layout, "oci-archive:"+img.archive+":"+tag)
	return img
}

func compressed(t testing.TB, layer []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(layer)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func writeBlob(t testing.TB, layout, mediaType string, blob []byte) ocispec.Descriptor {
	t.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	writeFile(t, filepath.Join(layout, "blobs", "sha256", d.Digest.Encoded()), blob)
	return d
}

func writeJSON(t testing.TB, layout, mediaType string, value any) ocispec.Descriptor {
	t.Helper()
	blob, err := json.Marshal(value)
	require.NoError(t, err)
	return writeBlob(t, layout, mediaType, blob)
}

func writeFile(t testing.TB, name string, content []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, content, 0o644))
}

// copyImage copies an image with skopeo; registries are spoken to without TLS.
func copyImage(t testing.TB, from, to string) {
	t.Helper()
	run(t, "skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", from, to)
}

// push copies the image to a registry and returns its reference there.
func (img image) push(t testing.TB, registry, name string) string {
	t.Helper()
	reference := registry + "/" + name + ":" + tag
	copyImage(t, "oci:"+img.layout, "docker://"+reference)
	return reference
}

// newRegistry starts a registry on the loopback address and returns its
// address.
func newRegistry(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %s}\n",
		filepath.Join(dir, "registry"), address)
	writeFile(t, filepath.Join(dir, "config.yml"), []byte(config))
	p := start(t, dir, nil, program(t, "docker-registry"), "serve", filepath.Join(dir, "config.yml"))
	p.mute = true // it complains of every blob that is not there yet
	p.await(t, accepts("tcp", address))
	return address
}
