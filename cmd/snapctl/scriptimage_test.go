package main

import (
	stdtar "archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"
)

// layer FILE ENTRY...: writes a layer. An entry is PATH/ for a directory,
// PATH=TEXT for a file, PATH->TARGET for a symbolic link, PATH=>TARGET for a
// hard link, PATH*N for a file of N kilobytes.
func scriptLayer(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: layer FILE ENTRY...")
	}
	var buf bytes.Buffer
	w := stdtar.NewWriter(&buf)
	for _, arg := range args[1:] {
		h, body := scriptEntry(arg)
		h.ModTime, h.Size = demoTime(), int64(len(body))
		ts.Check(w.WriteHeader(h))
		_, err := w.Write(body)
		ts.Check(err)
	}
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), buf.Bytes(), 0o644))
}

func scriptEntry(arg string) (*stdtar.Header, []byte) {
	if name, target, ok := strings.Cut(arg, "=>"); ok {
		return &stdtar.Header{Typeflag: stdtar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, nil
	}
	if name, target, ok := strings.Cut(arg, "->"); ok {
		return &stdtar.Header{Typeflag: stdtar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil
	}
	if name, body, ok := strings.Cut(arg, "="); ok {
		return &stdtar.Header{Typeflag: stdtar.TypeReg, Name: name, Mode: 0o644}, []byte(body + "\n")
	}
	if name, kb, ok := strings.Cut(arg, "*"); ok {
		n, _ := strconv.Atoi(kb)
		return &stdtar.Header{Typeflag: stdtar.TypeReg, Name: name, Mode: 0o644}, incompressible(n << 10)
	}
	if strings.HasSuffix(arg, "/") {
		return &stdtar.Header{Typeflag: stdtar.TypeDir, Name: arg, Mode: 0o755}, nil
	}
	return &stdtar.Header{Typeflag: stdtar.TypeReg, Name: arg, Mode: 0o644}, nil
}

// incompressible makes n bytes that are the same every time.
func incompressible(n int) []byte {
	body := make([]byte, n)
	x := uint32(1)
	for i := range body {
		x = x*1664525 + 1013904223
		body[i] = byte(x >> 24)
	}
	return body
}

// oci DIR NAME [key=value...] LAYER...: writes an OCI layout directory of layer
// files; a .gz is taken as compressed. $MANIFEST, $CONFIG, $LAYER1 and so on
// name the blobs' files afterwards, $CHAIN1 and so on the chainIDs. Settings:
// type= the media type of all layers, arch= the architecture, diffid= that of
// the last layer, add=true adds the image to a layout that is there. "" as the
// name is none.
func scriptOCI(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: oci DIR NAME [key=value...] LAYER...")
	}
	dir, set := ts.MkAbs(args[0]), map[string]string{"arch": runtime.GOARCH}
	var blobs ociBlobs
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}}
	config := v1.Image{RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	for _, arg := range args[2:] {
		if key, value, ok := strings.Cut(arg, "="); ok {
			set[key] = value
			continue
		}
		desc, diffID := scriptBlob(ts, &blobs, arg, set["type"])
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
	}
	setChains(ts, config.RootFS.DiffIDs)
	if set["diffid"] != "" {
		config.RootFS.DiffIDs[len(config.RootFS.DiffIDs)-1] = digest.Digest(set["diffid"])
	}
	config.Platform = v1.Platform{OS: "linux", Architecture: set["arch"]}
	manifest.Config = blobs.addJSON(v1.MediaTypeImageConfig, config)
	desc := blobs.addJSON(v1.MediaTypeImageManifest, manifest)
	desc.Platform = &config.Platform
	if args[1] != "" {
		desc.Annotations = map[string]string{v1.AnnotationRefName: args[1]}
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}}
	if set["add"] != "" {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(dir, v1.ImageIndexFile))), &index))
	}
	index.Manifests = append(index.Manifests, desc)
	ts.Check(os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755))
	ts.Check(os.WriteFile(filepath.Join(dir, v1.ImageLayoutFile), mustJSON(v1.ImageLayout{Version: v1.ImageLayoutVersion}), 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, v1.ImageIndexFile), mustJSON(index), 0o644))
	for i, d := range blobs.descs {
		file := filepath.Join(dir, "blobs/sha256", d.Digest.Encoded())
		ts.Check(os.WriteFile(file, blobs.bodies[i], 0o644))
		ts.Setenv([]string{"LAYER" + strconv.Itoa(i+1), "CONFIG", "MANIFEST"}[max(0, i-len(manifest.Layers)+1)], file)
	}
}

func scriptBlob(ts *testscript.TestScript, blobs *ociBlobs, file, mediaType string) (v1.Descriptor, digest.Digest) {
	body := []byte(ts.ReadFile(file))
	diffID, standard := digest.FromBytes(body), v1.MediaTypeImageLayer
	if strings.HasSuffix(file, ".gz") {
		standard = v1.MediaTypeImageLayerGzip
		diffID = digest.FromBytes(scriptGunzip(ts, body))
	}
	if mediaType == "" {
		mediaType = standard
	}
	return blobs.add(mediaType, body), diffID
}

func scriptGunzip(ts *testscript.TestScript, body []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(body))
	ts.Check(err)
	var out bytes.Buffer
	_, err = out.ReadFrom(r)
	ts.Check(err)
	return out.Bytes()
}

func setChains(ts *testscript.TestScript, diffIDs []digest.Digest) {
	var chain digest.Digest
	for i, d := range diffIDs {
		if i == 0 {
			chain = d
		} else {
			chain = digest.FromString(chain.String() + " " + d.String())
		}
		ts.Setenv("CHAIN"+strconv.Itoa(i+1), chain.String())
	}
}

// demoimage FILE: writes the demo's image.
func scriptDemoImage(ts *testscript.TestScript, _ bool, args []string) {
	body, err := demoImage(runtime.GOARCH)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), body, 0o644))
}

// damage FILE: flips a bit in the middle.
func scriptDamage(ts *testscript.TestScript, _ bool, args []string) {
	body := []byte(ts.ReadFile(args[0]))
	body[len(body)/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), body, 0o644))
}

// truncate FILE PERCENT: keeps the beginning.
func scriptTruncate(ts *testscript.TestScript, _ bool, args []string) {
	body := ts.ReadFile(args[0])
	percent, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(body[:len(body)*percent/100]), 0o644))
}
