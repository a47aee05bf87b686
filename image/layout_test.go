package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/tar"
)

// mapBag is a layout in memory.
type mapBag map[string][]byte

func (m mapBag) open(name string) (io.ReadCloser, int64, error) {
	raw, ok := m[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(&slowReader{raw}), int64(len(raw)), nil
}

func (mapBag) Close() error { return nil }

// slowReader returns a few bytes at a time.
type slowReader struct{ rest []byte }

func (s *slowReader) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest[:min(7, len(s.rest))])
	s.rest = s.rest[n:]
	return n, nil
}

func (m *maker) candidates() ([]candidate, error) {
	return layoutCandidates(context.Background(), mapBag(m.all()))
}

// only loads the only image of a layout.
func (m *maker) only(platform string) (*loaded, error) {
	all, err := m.candidates()
	if err != nil {
		return nil, err
	}
	want, err := ImportOptions{Platform: platform}.wanted("")
	require.NoError(m.t, err)
	_, img, err := pick(all, want)
	return img, err
}

func TestALayoutIsRead(t *testing.T) {
	m := newMaker(t)
	one, two := makeTar(t, file{name: "a", body: "1"}), makeTar(t, file{name: "b", body: "2"})
	target := m.add(m.image(imageSpec{layers: []layerSpec{{raw: one}, {raw: two, packed: tar.Gzip}}}), "12")

	all, err := m.candidates()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, []string{"12"}, all[0].refs)
	img, err := all[0].load()
	require.NoError(t, err)
	require.Equal(t, target.Digest, img.Target.Digest)
	require.Equal(t, digest.FromBytes(one), img.Layers[0].ChainID)
	chain := digest.FromString(digest.FromBytes(one).String() + " " + digest.FromBytes(two).String())
	require.Equal(t, chain, img.Layers[1].ChainID)
	require.Equal(t, chain.String(), img.Snapshot)
	require.Equal(t, digest.FromBytes(two), img.Layers[1].DiffID)
}

func TestNestedIndexesAndAttestationsAreSeenThrough(t *testing.T) {
	m := newMaker(t)
	amd := m.on(m.image(imageSpec{layers: []layerSpec{{raw: makeTar(t, file{name: "amd", body: "x"})}}}), "linux", "amd64", "")
	arm := m.on(m.image(imageSpec{platform: *linux("arm64", "")}), "linux", "arm64", "v8")
	att := m.on(m.image(imageSpec{layers: []layerSpec{{mediaType: "application/vnd.in-toto+json"}}}), "unknown", "unknown", "")
	byAnnotation := m.image(imageSpec{platform: *linux("riscv64", "")})
	byAnnotation.Annotations = map[string]string{annotationReference: "attestation-manifest"}
	inner := m.blob(ocispec.MediaTypeImageIndex, m.json(ocispec.Index{Manifests: []ocispec.Descriptor{arm, att, byAnnotation}}))
	outer := m.blob(dockerManifestList, m.json(map[string]any{"schemaVersion": 2, "manifests": []ocispec.Descriptor{inner, amd, inner}}))
	m.add(outer, "docker.io/library/app:1")

	all, err := m.candidates()
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, []string{"docker.io/library/app:1"}, all[0].refs)
	img, err := m.only("linux/arm64")
	require.NoError(t, err)
	require.Equal(t, arm.Digest, img.Target.Digest)
	_, err = m.only("linux/ppc64le")
	require.ErrorContains(t, err, "it holds linux/amd64, linux/arm64")
}

func TestTagsOfOneImageAreOneImage(t *testing.T) {
	m := newMaker(t)
	d := m.image(imageSpec{})
	m.add(d, "1")
	m.add(d, "latest")
	all, err := m.candidates()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, []string{"1", "latest"}, all[0].refs)
}

func TestAnIndexThatNamesItselfEnds(t *testing.T) {
	// A forger cannot make content with a given digest. But a forger can write a
	// blob whose name is not its digest.
	m := newMaker(t)
	self := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString("self")}
	raw := m.json(ocispec.Index{Manifests: []ocispec.Descriptor{self}})
	self.Size = int64(len(raw))
	for len(m.json(ocispec.Index{Manifests: []ocispec.Descriptor{self}})) != int(self.Size) {
		self.Size = int64(len(m.json(ocispec.Index{Manifests: []ocispec.Descriptor{self}})))
	}
	m.files[blobName(self.Digest)] = m.json(ocispec.Index{Manifests: []ocispec.Descriptor{self}})
	m.add(self, "")
	_, err := m.candidates()
	require.ErrorIs(t, err, ErrDigest)
}

func TestIndexesNestOnlySoDeep(t *testing.T) {
	m := newMaker(t)
	d := m.image(imageSpec{})
	for range maxIndexDepth + 1 {
		d = m.blob(ocispec.MediaTypeImageIndex, m.json(ocispec.Index{Manifests: []ocispec.Descriptor{d}}))
	}
	m.add(d, "")
	_, err := m.candidates()
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "nested")
}

func TestAFanOfIndexesIsReadOnce(t *testing.T) {
	// Eight levels with a hundred references to the next level would be 10^16
	// entries.
	m := newMaker(t)
	d := m.image(imageSpec{})
	for range maxIndexDepth - 1 {
		var many []ocispec.Descriptor
		for range 100 {
			many = append(many, d)
		}
		d = m.blob(ocispec.MediaTypeImageIndex, m.json(ocispec.Index{Manifests: many}))
	}
	m.add(d, "")
	all, err := m.candidates()
	require.NoError(t, err)
	require.Len(t, all, 1)
}

// TestBadLayoutsAreRefused tests that the error says what is wrong.
func TestBadLayoutsAreRefused(t *testing.T) {
	raw := makeTar(t, file{name: "a", body: "1"})
	good := layerSpec{raw: raw}
	for name, c := range map[string]struct {
		build func(m *maker) ocispec.Descriptor
		is    error
		says  string
	}{
		"a manifest with another digest": {func(m *maker) ocispec.Descriptor {
			d := m.image(imageSpec{layers: []layerSpec{good}})
			m.files[blobName(d.Digest)][3] ^= 1
			return d
		}, ErrDigest, "has the digest"},
		"a manifest of another size": {func(m *maker) ocispec.Descriptor {
			d := m.image(imageSpec{layers: []layerSpec{good}})
			d.Size++
			return d
		}, ErrDigest, "bytes"},
		"a missing manifest": {func(m *maker) ocispec.Descriptor {
			d := m.image(imageSpec{})
			delete(m.files, blobName(d.Digest))
			return d
		}, ErrMissingBlob, "manifest"},
		"a missing config": {func(m *maker) ocispec.Descriptor {
			return m.image(imageSpec{manifest: func(man *ocispec.Manifest) { delete(m.files, blobName(man.Config.Digest)) }})
		}, ErrMissingBlob, "config"},
		"a digest that leaves the directory": {func(m *maker) ocispec.Descriptor {
			return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: "sha256:../../../../etc/passwd", Size: 1}
		}, ErrInvalid, "digest"},
		"a digest of another algorithm": {func(m *maker) ocispec.Descriptor {
			return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: "../x:abcdef", Size: 1}
		}, ErrInvalid, "digest"},
		"a negative size": {func(m *maker) ocispec.Descriptor {
			d := m.image(imageSpec{})
			d.Size = -1
			return d
		}, ErrInvalid, "size of -1"},
		"a huge manifest": {func(m *maker) ocispec.Descriptor {
			return m.blob(ocispec.MediaTypeImageManifest, make([]byte, maxDocument+1))
		}, ErrInvalid, "at most"},
		"a manifest that is no JSON": {func(m *maker) ocispec.Descriptor {
			return m.blob(ocispec.MediaTypeImageManifest, []byte("{"))
		}, ErrInvalid, "JSON"},
		"a manifest that is an index too": {func(m *maker) ocispec.Descriptor {
			d := m.image(imageSpec{})
			var doc map[string]json.RawMessage
			require.NoError(m.t, json.Unmarshal(m.files[blobName(d.Digest)], &doc))
			doc["manifests"] = json.RawMessage("[]")
			return m.blob(ocispec.MediaTypeImageManifest, m.json(doc))
		}, ErrMediaType, "both"},
		"a manifest that says it is an index": {func(m *maker) ocispec.Descriptor {
			d := m.image(imageSpec{manifestType: ocispec.MediaTypeImageIndex})
			d.MediaType = ocispec.MediaTypeImageManifest
			return d
		}, ErrMediaType, "content"},
		"a schema 1 manifest": {func(m *maker) ocispec.Descriptor {
			return m.blob(dockerManifest, []byte(`{"schemaVersion":1,"fsLayers":[]}`))
		}, ErrMediaType, "schema 1"},
		"an artifact": {func(m *maker) ocispec.Descriptor {
			return m.image(imageSpec{configType: "application/vnd.cncf.helm.config.v1+json"})
		}, ErrMediaType, "helm"},
		"only an unknown thing": {func(m *maker) ocispec.Descriptor {
			return m.blob("application/x-unknown", []byte("x"))
		}, ErrMediaType, "x-unknown"},
		"a layer of an unknown type": {func(m *maker) ocispec.Descriptor {
			return m.image(imageSpec{layers: []layerSpec{{raw: raw, mediaType: "application/x-layer"}}})
		}, ErrMediaType, `"application/x-layer"`},
		"an encrypted layer": {func(m *maker) ocispec.Descriptor {
			return m.image(imageSpec{layers: []layerSpec{{raw: raw, mediaType: ocispec.MediaTypeImageLayerGzip + "+encrypted"}}})
		}, ErrMediaType, "decrypted"},
		"fewer diffIDs than layers": {func(m *maker) ocispec.Descriptor {
			return m.image(imageSpec{layers: []layerSpec{good, good}, diffIDs: []digest.Digest{digest.FromBytes(raw)}})
		}, ErrInvalid, "2 layers and the config 1 diffIDs"},
		"more diffIDs than layers": {func(m *maker) ocispec.Descriptor {
			return m.image(imageSpec{diffIDs: []digest.Digest{digest.FromBytes(raw)}})
		}, ErrInvalid, "0 layers and the config 1 diffIDs"},
		"a diffID that is none": {func(m *maker) ocispec.Descriptor {
			return m.image(imageSpec{layers: []layerSpec{good}, diffIDs: []digest.Digest{"sha256:x"}})
		}, ErrInvalid, "diffID 1"},
		"a Windows image": {func(m *maker) ocispec.Descriptor {
			return m.image(imageSpec{platform: ocispec.Platform{OS: "windows", Architecture: "amd64"}})
		}, ErrInvalid, "Windows"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMaker(t)
			m.add(c.build(m), "")
			_, err := m.only("")
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestALayoutWithoutAnIndexIsNone(t *testing.T) {
	_, err := layoutCandidates(context.Background(), mapBag{})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = layoutCandidates(context.Background(), mapBag{"index.json": make([]byte, maxDocument+1)})
	require.ErrorIs(t, err, ErrInvalid)
}

func TestUnknownThingsBesideAnImageAreLeftOut(t *testing.T) {
	m := newMaker(t)
	m.add(m.blob("application/x-unknown", []byte("x")), "")
	d := m.add(m.image(imageSpec{}), "")
	img, err := m.only("")
	require.NoError(t, err)
	require.Equal(t, d.Digest, img.Target.Digest)
}

func TestALayerThatIsToBeHadFromElsewhereIsMissing(t *testing.T) {
	m := newMaker(t)
	raw := makeTar(t)
	m.add(m.image(imageSpec{
		layers: []layerSpec{{raw: raw, mediaType: dockerForeignLayer}},
		manifest: func(man *ocispec.Manifest) {
			man.Layers[0].URLs = []string{"https://example.org/layer"}
			delete(m.files, blobName(man.Layers[0].Digest))
		},
	}), "")
	img, err := m.only("")
	require.NoError(t, err, "it has a sound manifest")
	_, err = img.layer(0)
	require.ErrorIs(t, err, ErrMissingBlob)
	require.ErrorContains(t, err, "https://example.org/layer")
}

func FuzzLayoutIndex(f *testing.F) {
	m := newMaker(f)
	m.add(m.image(imageSpec{layers: []layerSpec{{raw: makeTar(f)}}}), "1")
	f.Add(m.json(m.index))
	f.Add([]byte(`{"manifests":[{"mediaType":"` + ocispec.MediaTypeImageIndex + `","digest":"sha256:","size":-1}]}`))
	files := m.all()
	f.Fuzz(func(t *testing.T, raw []byte) {
		files["index.json"] = raw
		all, err := layoutCandidates(context.Background(), mapBag(files))
		if err != nil {
			return
		}
		for _, c := range all {
			if img, err := c.load(); err == nil && img.Snapshot == "" {
				t.Fatal(fmt.Sprint("an image without a snapshot: ", img))
			}
		}
	})
}
