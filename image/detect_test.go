package image

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// manifestOf returns the manifest that a descriptor describes.
func (m *maker) manifestOf(d ocispec.Descriptor) (man ocispec.Manifest) {
	require.NoError(m.t, json.Unmarshal(m.files[blobName(d.Digest)], &man))
	return man
}

// docker adds a manifest.json that lists these images, as newer versions of
// Docker do.
func (m *maker) docker(images ...ocispec.Descriptor) {
	var entries []dockerEntry
	for _, d := range images {
		man := m.manifestOf(d)
		e := dockerEntry{Config: blobName(man.Config.Digest)}
		if ref := d.Annotations[ocispec.AnnotationRefName]; ref != "" {
			e.RepoTags = []string{ref}
		}
		for _, l := range man.Layers {
			e.Layers = append(e.Layers, blobName(l.Digest))
		}
		entries = append(entries, e)
	}
	m.files[dockerManifestFile] = m.json(entries)
}

// reversed makes a manifest with the layers in the reverse order.
func (m *maker) reversed(d ocispec.Descriptor) ocispec.Descriptor {
	man := m.manifestOf(d)
	slices.Reverse(man.Layers)
	return m.blob(d.MediaType, m.json(man))
}

func (s *Store) importWarned(t *testing.T, source string, opts ImportOptions) (Image, []string) {
	t.Helper()
	var notes []string
	opts.Warn = func(layer int, _, message string) {
		require.Equal(t, WholeImage, layer)
		notes = append(notes, message)
	}
	return s.mustImport(t, source, opts), notes
}

func TestWhereIndexJSONIsUnusableManifestJSONIsRead(t *testing.T) {
	s := newStore(t, "vfs")
	for name, spoil := range map[string]func(files map[string][]byte, d ocispec.Descriptor){
		"no manifests": func(files map[string][]byte, _ ocispec.Descriptor) {
			files["index.json"] = []byte(`{"schemaVersion":2,"manifests":null}`)
		},
		"no JSON":            func(files map[string][]byte, _ ocispec.Descriptor) { files["index.json"] = []byte("{") },
		"no index.json":      func(files map[string][]byte, _ ocispec.Descriptor) { delete(files, "index.json") },
		"no manifest":        func(files map[string][]byte, d ocispec.Descriptor) { delete(files, blobName(d.Digest)) },
		"a damaged manifest": func(files map[string][]byte, d ocispec.Descriptor) { files[blobName(d.Digest)] = []byte("{}") },
		"a digest that isn't": func(files map[string][]byte, _ ocispec.Descriptor) {
			files["index.json"] = []byte(`{"manifests":[{"digest":"x"}]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMaker(t)
			d := m.add(m.image(imageSpec{layers: threeLayers(t, tar.None)}), "app:1")
			m.docker(d)
			files := m.all()
			spoil(files, d)
			img, notes := s.importWarned(t, writeFile(t, "saved.tar", tarOf(t, files)), ImportOptions{})
			require.Equal(t, "app:1", img.Name)
			requireProvides(t, s, img.Snapshot, threeLayersShow...)
			require.Len(t, notes, 1)
			require.Contains(t, notes[0], "index.json cannot be used")

			delete(files, dockerManifestFile)
			_, err := s.importFrom(writeFile(t, "saved.tar", tarOf(t, files)), ImportOptions{})
			require.ErrorIs(t, err, ErrInvalid)
		})
	}
}

func TestAWholeLayoutIsPreferredToManifestJSON(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	d := m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "app:1")
	m.docker(d)
	img, notes := s.importWarned(t, writeFile(t, "saved.tar", m.archive()), ImportOptions{})
	require.Equal(t, d.Digest, img.Target.Digest)
	require.Empty(t, notes)
	m.files[dockerManifestFile] = []byte(`{"of":"somebody else"}`)
	img, notes = s.importWarned(t, writeFile(t, "saved.tar", m.archive()), ImportOptions{})
	require.Equal(t, d.Digest, img.Target.Digest)
	require.Empty(t, notes)
}

func TestImagesThatOnlyManifestJSONListsAreToldApart(t *testing.T) {
	m := newMaker(t)
	first := m.add(m.image(oneLayer(t, "first")), "")
	second := m.image(oneLayer(t, "second"))
	m.docker(first, second)
	_, err := pickFrom(t, mapBag(m.all()), ImportOptions{})
	require.ErrorIs(t, err, ErrAmbiguous)
	id := m.manifestOf(second).Config.Digest
	require.ErrorContains(t, err, "1: "+first.Digest.String())
	require.ErrorContains(t, err, "2: "+id.String())
	for _, choice := range []string{"2", id.String()} {
		got, err := pickFrom(t, mapBag(m.all()), ImportOptions{Image: choice})
		require.NoError(t, err)
		require.Equal(t, "second", got)
	}
}

func TestAnImageThatOneListHasBrokenIsTakenFromTheOther(t *testing.T) {
	m := newMaker(t)
	first := m.add(m.image(oneLayer(t, "first")), "app:1")
	second := m.add(m.image(oneLayer(t, "second")), "app:2")
	m.docker(first, second)
	delete(m.files, blobName(second.Digest))
	all, err := listCandidates(t.Context(), Detect, mapBag(m.all()))
	require.NoError(t, err)
	want, err := ImportOptions{}.wanted("app:2")
	require.NoError(t, err)
	_, img, err := pick(all, want)
	require.NoError(t, err)
	require.Equal(t, "second", whoIs(t, img))
}

// failingBag cannot read one of its files.
type failingBag struct {
	bag
	name string
	err  error
}

func (f failingBag) open(name string) (io.ReadCloser, int64, error) {
	if name == f.name {
		return nil, 0, f.err
	}
	return f.bag.open(name)
}

func TestAnErrorOfReadingIsNotTakenForABadLayout(t *testing.T) {
	m := newMaker(t)
	m.docker(m.add(m.image(oneLayer(t, "first")), "app:1"))
	broken := errors.New("disk on fire")
	_, err := listCandidates(t.Context(), Detect, failingBag{mapBag(m.all()), "index.json", broken})
	require.ErrorIs(t, err, broken)
}

func TestLayersInAWrongOrderAreImportedInTheRightOne(t *testing.T) {
	for name, packed := range map[string][]tar.Compression{"plain": {tar.None}, "mixed": {tar.None, tar.Gzip, tar.Zstd}} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, "vfs")
			m := newMaker(t)
			// A layer that occurs twice has one diffID for two positions.
			layers := threeLayers(t, packed...)
			right := m.image(imageSpec{layers: append(layers, layers[2])})
			wrong := m.add(m.reversed(right), "app:1")
			img, notes := s.importWarned(t, m.dir(), ImportOptions{})
			requireProvides(t, s, img.Snapshot, threeLayersShow...)
			require.NotEqual(t, wrong.Digest, img.Target.Digest)
			require.Len(t, notes, 1)
			require.Contains(t, notes[0], wrong.Digest.String())
			require.Contains(t, notes[0], img.Target.Digest.String())
			var order, want []digest.Digest
			for _, l := range img.Layers {
				order = append(order, l.Blob.Digest)
			}
			for _, l := range m.manifestOf(right).Layers {
				want = append(want, l.Digest)
			}
			require.Equal(t, want, order)

			// The same if manifest.json has this order.
			m.docker(wrong)
			b := m.all()
			delete(b, "index.json")
			delete(b, "oci-layout")
			docker := s.mustImport(t, writeFile(t, "saved.tar", tarOf(t, b)), ImportOptions{})
			require.Equal(t, img.Snapshot, docker.Snapshot)
			require.Equal(t, img.Target.Digest, docker.Target.Digest)
		})
	}
}

func TestLayersThatAreNotThoseOfTheConfigAreRefused(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	layers := threeLayers(t, tar.None, tar.Gzip)
	other := digest.FromString("other")
	m.add(m.image(imageSpec{layers: layers, diffIDs: []digest.Digest{digest.FromBytes(layers[1].raw), other, digest.FromBytes(layers[0].raw)}}), "app:1")
	_, err := s.importFrom(m.dir(), ImportOptions{})
	require.ErrorIs(t, err, driver.ErrDigest)
	require.ErrorContains(t, err, other.String())
}
