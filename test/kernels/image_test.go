package kernels

import (
	stdtar "archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// An entry is one header of a layer, and its content.
type entry struct {
	header stdtar.Header
	body   string
}

// stamp is the time of everything in the images: it has a fraction, and is
// earlier than the SOURCE_DATE_EPOCH of the smoke script.
var stamp = time.Date(2020, 3, 4, 5, 6, 7, 123456789, time.UTC)

func file(name, body string) entry {
	return entry{stdtar.Header{Typeflag: stdtar.TypeReg, Name: name, Mode: 0o644}, body}
}

func dir(name string) entry {
	return entry{stdtar.Header{Typeflag: stdtar.TypeDir, Name: name + "/", Mode: 0o755}, ""}
}

func symlink(name, target string) entry {
	return entry{stdtar.Header{Typeflag: stdtar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func link(name, target string) entry {
	return entry{stdtar.Header{Typeflag: stdtar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, ""}
}

// with changes the header of an entry.
func (e entry) with(change func(h *stdtar.Header)) entry {
	change(&e.header)
	return e
}

func xattr(name, value string) func(*stdtar.Header) {
	return func(h *stdtar.Header) {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = value
	}
}

// capability is a security.capability of version 2: cap_net_raw, effective.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// goldenLayers is the image that the smoke script edits. It has what layers can
// say: attributes of every kind, links, removals in each form, and directories
// that are made anew.
func goldenLayers() [][]entry {
	return [][]entry{
		{
			dir("."), dir("bin"),
			file("bin/tool", "tool\n").with(func(h *stdtar.Header) { h.Mode = 0o4755 }),
			file("bin/ping", "ping\n").with(xattr("security.capability", capability)),
			file("bin/attr", "attr\n").with(xattr("user.origin", "first")),
			file("bin/times", "times\n"),
			link("bin/tool2", "bin/tool"),
			dir("dev"),
			{stdtar.Header{Typeflag: stdtar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3}, ""},
			dir("etc"), file("etc/config", "one\n"), file("etc/gone", "gone\n"), file("etc/old", "old\n"), file("etc/first", "first\n"),
			dir("lib64"), dir("opt"), dir("opt/a"), file("opt/a/below", "below\n"), file("opt/b, c:d", "name\n"),
			dir("run"), dir("srv"), symlink("srv/link", "../etc"), dir("srv/file"), file("srv/file/x", "x\n"),
			dir("usr"), dir("usr/lib"), file("usr/lib/big", strings.Repeat("0123456789abcdef", 40000)), symlink("lib", "usr/lib"),
			dir("usr/share"), file("usr/share/a", "a\n"), dir("usr/share/d"), file("usr/share/d/b", "b\n"),
			dir("usr/doc"), file("usr/doc/a", "a\n"), dir("usr/doc/sub"), file("usr/doc/sub/b", "b\n"),
			dir("var"), dir("var/cache"), file("var/cache/one", "1\n"), file("var/cache/two", "2\n"),
			dir("var/log"), file("var/log/kept", "not shown\n"),
			dir("var/tmp").with(func(h *stdtar.Header) { h.Mode = 0o1777 }),
		},
		{
			file("etc/.wh.old", ""), link("etc/linked", "etc/first"), file("lib/module", "through a link of the parents\n"),
			file("opt/.wh.a", ""), file("srv/.wh.file", ""), file("srv/file", "a file now\n"),
			dir("var/log"), file("var/log/.wh..wh..opq", ""), file("var/log/shown", "shown\n"),
			file("usr/owned", "owned\n").with(func(h *stdtar.Header) { h.Uid, h.Gid = 70000, 4000000000 }),
			file("usr/früher", "before 1970\n").with(func(h *stdtar.Header) { h.ModTime = time.Date(1965, 1, 2, 3, 4, 5, 0, time.UTC) }),
		},
		{
			dir("opt/a"), file("opt/a/again", "again\n"),
			file("bin/attr", "attr\n").with(xattr("user.origin", "third")).with(xattr("user.empty", "")),
			{stdtar.Header{Typeflag: stdtar.TypeFifo, Name: "run/fifo", Mode: 0o600}, ""},
		},
	}
}

// stackLayers is an image of n layers, each of which shows when it is missing:
// layer i adds the file 100+i and removes the file 50+i. The first layer adds
// the files that the next ones remove.
func stackLayers(n int) [][]entry {
	layers := make([][]entry, n)
	for i := 52; i <= 100; i++ {
		layers[0] = append(layers[0], file(fmt.Sprint(i), "base\n"))
	}
	for i := range layers {
		layers[i] = append(layers[i], file(fmt.Sprint(101+i), fmt.Sprintf("layer %d\n", i+1)))
		if i > 0 {
			layers[i] = append(layers[i], file(fmt.Sprintf(".wh.%d", 51+i), ""))
		}
	}
	return layers
}

// writeImage writes an OCI archive of the layers, the same bytes every time.
func writeImage(t *testing.T, path, name string, layers [][]entry) {
	t.Helper()
	out, err := os.Create(path)
	require.NoError(t, err)
	w := &archive{t: t, tar: stdtar.NewWriter(out)}
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers"}}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, entries := range layers {
		desc := w.blob(v1.MediaTypeImageLayer, layerBytes(t, entries))
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, desc.Digest)
	}
	manifest.Config = w.json(v1.MediaTypeImageConfig, config)
	desc := w.json(v1.MediaTypeImageManifest, manifest)
	desc.Annotations = map[string]string{v1.AnnotationRefName: name}
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{desc}})
	require.NoError(t, err)
	w.add(v1.ImageIndexFile, index)
	w.add(v1.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+v1.ImageLayoutVersion+`"}`))
	require.NoError(t, w.tar.Close())
	require.NoError(t, out.Close())
}

func layerBytes(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := stdtar.NewWriter(&buf)
	for _, e := range entries {
		h := e.header
		if h.ModTime.IsZero() {
			h.ModTime = stamp
		}
		h.Size, h.Format = int64(len(e.body)), stdtar.FormatPAX
		require.NoError(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, e.body)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// An archive is an OCI archive that is being written.
type archive struct {
	t     *testing.T
	tar   *stdtar.Writer
	blobs map[digest.Digest]bool
}

func (a *archive) add(name string, body []byte) {
	require.NoError(a.t, a.tar.WriteHeader(&stdtar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}))
	_, err := a.tar.Write(body)
	require.NoError(a.t, err)
}

func (a *archive) blob(mediaType string, body []byte) v1.Descriptor {
	desc := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
	if !a.blobs[desc.Digest] {
		a.add("blobs/sha256/"+desc.Digest.Encoded(), body)
	}
	if a.blobs == nil {
		a.blobs = map[digest.Digest]bool{}
	}
	a.blobs[desc.Digest] = true
	return desc
}

func (a *archive) json(mediaType string, value any) v1.Descriptor {
	body, err := json.Marshal(value)
	require.NoError(a.t, err)
	return a.blob(mediaType, body)
}
