package main

import (
	stdtar "archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// demoLayer is one layer of the demo's image: what made it, and its entries in
// the order of the stream.
type demoLayer struct {
	createdBy string
	entries   []demoEntry
}

// demoEntry is a file, or a directory when path ends in a slash, or a hard link
// when link is set, or a symbolic link when symlink is set.
type demoEntry struct {
	path          string
	mode          int64
	body          string
	link, symlink string
}

// demoLayers is the demo's image, lowest layer first. Between them the layers
// show what a layer can say: add, replace, hide one file (.wh.NAME), hide
// everything a directory held (.wh..wh..opq), link.
func demoLayers() []demoLayer {
	return []demoLayer{
		{createdBy: "base system", entries: []demoEntry{
			{path: "bin/", mode: 0o755},
			{path: "bin/greet", mode: 0o755, body: "#!/bin/sh\ncat /etc/motd\n"},
			{path: "bin/hello", link: "bin/greet"},
			{path: "etc/", mode: 0o755},
			{path: "etc/motd", mode: 0o644, body: "Hello from the base layer.\n"},
			{path: "etc/os-release", mode: 0o644, body: "NAME=\"Layerkeep demo\"\nID=demo\n"},
			{path: "var/", mode: 0o755},
			{path: "var/cache/", mode: 0o755},
			{path: "var/cache/packages/", mode: 0o755},
			{path: "var/cache/packages/editor.pkg", mode: 0o644, body: "a package nobody needs any more\n"},
			{path: "var/cache/packages/shell.pkg", mode: 0o644, body: "another one\n"},
		}},
		{createdBy: "install the application", entries: []demoEntry{
			{path: "etc/motd", mode: 0o644, body: "Hello from the application layer.\n"},
			{path: "srv/", mode: 0o755},
			{path: "srv/app/", mode: 0o755},
			{path: "srv/app/current", symlink: "release-1"},
			{path: "srv/app/password.txt", mode: 0o600, body: "hunter2\n"},
			{path: "srv/app/release-1/", mode: 0o755},
			{path: "srv/app/release-1/app.conf", mode: 0o644, body: "port = 8080\n"},
		}},
		{createdBy: "clean up", entries: []demoEntry{
			{path: "srv/app/.wh.password.txt", mode: 0o644},
			{path: "var/cache/packages/", mode: 0o755},
			{path: "var/cache/packages/.wh..wh..opq", mode: 0o644},
			{path: "var/cache/packages/index", mode: 0o644, body: "no packages\n"},
		}},
	}
}

// demoTime is the time of everything in the demo's image, so that its digests
// are the same everywhere.
func demoTime() time.Time { return time.Date(2024, time.May, 17, 12, 0, 0, 0, time.UTC) }

// demoImage returns the demo's image as an OCI archive for architecture arch:
// the same bytes every time.
func demoImage(arch string) ([]byte, error) {
	var blobs ociBlobs
	created := demoTime()
	config := v1.Image{
		Created:  &created,
		Platform: v1.Platform{Architecture: arch, OS: "linux"},
		Config:   v1.ImageConfig{Cmd: []string{"/bin/greet"}},
		RootFS:   v1.RootFS{Type: "layers"},
	}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, l := range demoLayers() {
		stream, err := l.tar()
		if err != nil {
			return nil, err
		}
		desc := blobs.add(v1.MediaTypeImageLayer, stream)
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, desc.Digest)
		config.History = append(config.History, v1.History{Created: &created, CreatedBy: l.createdBy})
	}
	manifest.Config = blobs.addJSON(v1.MediaTypeImageConfig, config)
	desc := blobs.addJSON(v1.MediaTypeImageManifest, manifest)
	desc.Platform = &config.Platform
	desc.Annotations = map[string]string{v1.AnnotationRefName: demoRef}
	return blobs.archive(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{desc},
	})
}

func (l demoLayer) tar() ([]byte, error) {
	var buf bytes.Buffer
	w := stdtar.NewWriter(&buf)
	for _, e := range l.entries {
		if err := w.WriteHeader(e.header()); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

func (e demoEntry) header() *stdtar.Header {
	h := &stdtar.Header{
		Typeflag: stdtar.TypeReg, Name: e.path, Mode: e.mode, Size: int64(len(e.body)),
		ModTime: demoTime(), Format: stdtar.FormatUSTAR,
	}
	switch {
	case e.link != "":
		h.Typeflag, h.Linkname, h.Mode = stdtar.TypeLink, e.link, 0o755
	case e.symlink != "":
		h.Typeflag, h.Linkname, h.Mode = stdtar.TypeSymlink, e.symlink, 0o777
	case e.path[len(e.path)-1] == '/':
		h.Typeflag = stdtar.TypeDir
	}
	return h
}

// ociBlobs collects the blobs of an OCI archive in order.
type ociBlobs struct {
	descs  []v1.Descriptor
	bodies [][]byte
}

func (b *ociBlobs) add(mediaType string, body []byte) v1.Descriptor {
	desc := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
	b.descs = append(b.descs, desc)
	b.bodies = append(b.bodies, body)
	return desc
}

func (b *ociBlobs) addJSON(mediaType string, v any) v1.Descriptor {
	return b.add(mediaType, mustJSON(v))
}

// archive writes the blobs, the index and the layout marker as a tar.
func (b *ociBlobs) archive(index v1.Index) ([]byte, error) {
	var buf bytes.Buffer
	w := stdtar.NewWriter(&buf)
	file := func(name string, body []byte) error {
		err := w.WriteHeader(&stdtar.Header{
			Typeflag: stdtar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body)),
			ModTime: demoTime(), Format: stdtar.FormatUSTAR,
		})
		if err != nil {
			return err
		}
		_, err = w.Write(body)
		return err
	}
	if err := file(v1.ImageLayoutFile, mustJSON(v1.ImageLayout{Version: v1.ImageLayoutVersion})); err != nil {
		return nil, err
	}
	if err := file(v1.ImageIndexFile, mustJSON(index)); err != nil {
		return nil, err
	}
	for i, desc := range b.descs {
		if err := file("blobs/sha256/"+desc.Digest.Encoded(), b.bodies[i]); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

// mustJSON marshals one of the OCI types, none of which can fail.
func mustJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return body
}
