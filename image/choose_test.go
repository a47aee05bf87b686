package image

import (
	"encoding/json"
	"io"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// oneLayer is an image that differs from the others in the content of one file.
func oneLayer(t testing.TB, body string) imageSpec {
	return imageSpec{layers: []layerSpec{{raw: makeTar(t, file{name: "who", body: body})}}}
}

// twoUnnamed is a layout with two images of one platform that have no names.
func twoUnnamed(t testing.TB) (m *maker, digests [2]digest.Digest) {
	m = newMaker(t)
	for i, body := range []string{"first", "second"} {
		digests[i] = m.add(m.on(m.image(oneLayer(t, body)), hostPlatform.OS, hostPlatform.Architecture, ""), "").Digest
	}
	return m, digests
}

// dockerSaveAll combines several archives with one image each into one archive.
func dockerSaveAll(t testing.TB, all ...[]file) []byte {
	var files []file
	var entries []dockerEntry
	for _, archive := range all {
		for _, f := range archive {
			if f.name != dockerManifestFile {
				files = append(files, f)
				continue
			}
			var some []dockerEntry
			require.NoError(t, json.Unmarshal([]byte(f.body), &some))
			entries = append(entries, some...)
		}
	}
	raw, err := json.Marshal(entries)
	require.NoError(t, err)
	return makeTar(t, append(files, file{name: dockerManifestFile, body: string(raw)})...)
}

// whoIs returns the content of the file in which the images of these tests
// differ.
func whoIs(t testing.TB, img *loaded) string {
	t.Helper()
	f, err := img.layer(0)
	require.NoError(t, err)
	defer f.Close()
	raw, err := io.ReadAll(f)
	require.NoError(t, err)
	for _, who := range []string{"first", "second", "third"} {
		if string(raw) == string(makeTar(t, file{name: "who", body: who})) {
			return who
		}
	}
	return ""
}

// pickFrom chooses an image of a bag.
func pickFrom(t testing.TB, b bag, opts ImportOptions) (string, error) {
	t.Helper()
	all, err := listCandidates(t.Context(), Detect, b)
	require.NoError(t, err)
	want, err := opts.wanted("")
	require.NoError(t, err)
	_, img, err := pick(all, want)
	if err != nil {
		return "", err
	}
	return whoIs(t, img), nil
}

func TestOfSeveralImagesWithoutNamesNoneIsTakenUnasked(t *testing.T) {
	m, manifests := twoUnnamed(t)
	ids := [2]digest.Digest{}
	var archives [][]file
	for i, body := range []string{"first", "second"} {
		saved := dockerSave(t, nil, oneLayer(t, body).layers...)
		archives = append(archives, saved)
		ids[i], _ = configID(saved[3].name)
	}
	saved, err := indexed(dockerSaveAll(t, archives...))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		bag     bag
		digests [2]digest.Digest
	}{
		"layout": {mapBag(m.all()), manifests},
		"docker": {saved, ids},
	} {
		t.Run(name, func(t *testing.T) {
			for _, opts := range []ImportOptions{{}, {Platform: "linux/" + hostPlatform.Architecture}} {
				_, err := pickFrom(t, c.bag, opts)
				require.ErrorIs(t, err, ErrAmbiguous)
				require.ErrorContains(t, err, "1: "+c.digests[0].String()+" (unnamed)")
				require.ErrorContains(t, err, "2: "+c.digests[1].String()+" (unnamed)")
			}
			for choice, want := range map[string]string{
				"1": "first", "2": "second",
				c.digests[0].String(): "first", c.digests[1].Encoded()[:12]: "second",
				"sha256:" + c.digests[1].Encoded()[:6]: "second",
			} {
				got, err := pickFrom(t, c.bag, ImportOptions{Image: choice})
				require.NoError(t, err, choice)
				require.Equal(t, want, got, choice)
			}
			for _, choice := range []string{"3", "99999", digest.FromString("other").String()} {
				_, err := pickFrom(t, c.bag, ImportOptions{Image: choice})
				require.ErrorIs(t, err, ErrNoMatch, choice)
				require.ErrorContains(t, err, c.digests[1].String(), choice)
			}
			_, err = pickFrom(t, c.bag, ImportOptions{Image: "2", Platform: "linux/s390x"})
			require.ErrorIs(t, err, ErrNoMatch)
		})
	}
}

func TestAnImageIsChosenByTheDigestOfItsConfigOrItsIndex(t *testing.T) {
	m, manifests := twoUnnamed(t)
	all, err := m.candidates()
	require.NoError(t, err)
	second, err := all[1].load()
	require.NoError(t, err)
	got, err := pickFrom(t, mapBag(m.all()), ImportOptions{Image: second.Config.Digest.String()})
	require.NoError(t, err)
	require.Equal(t, "second", got)

	// Two indexes, each with an image for two platforms.
	m = newMaker(t)
	var indexes []ocispec.Descriptor
	for _, body := range []string{"first", "second"} {
		amd := m.on(m.image(oneLayer(t, body)), "linux", "amd64", "")
		arm := oneLayer(t, "third")
		arm.platform = *linux("arm64", "v8")
		index := m.json(ocispec.Index{Manifests: []ocispec.Descriptor{amd, m.on(m.image(arm), "linux", "arm64", "v8")}})
		indexes = append(indexes, m.add(m.blob(ocispec.MediaTypeImageIndex, index), ""))
	}
	_, err = pickFrom(t, mapBag(m.all()), ImportOptions{Platform: "linux/amd64"})
	require.ErrorIs(t, err, ErrAmbiguous)
	require.ErrorContains(t, err, indexes[1].Digest.String())
	for i, want := range []string{"first", "second"} {
		got, err = pickFrom(t, mapBag(m.all()), ImportOptions{Image: indexes[i].Digest.String(), Platform: "linux/amd64"})
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NotEqual(t, manifests[i], indexes[i].Digest)
	}
	got, err = pickFrom(t, mapBag(m.all()), ImportOptions{Platform: "linux/arm64"})
	require.NoError(t, err, "it is in both, and is one image")
	require.Equal(t, "third", got)
}

func TestWhatIsNotSeveralImagesIsTaken(t *testing.T) {
	host := hostPlatform.Architecture
	t.Run("one image for several platforms, straight in index.json", func(t *testing.T) {
		m := newMaker(t)
		other := oneLayer(t, "second")
		other.platform = *linux("s390x", "")
		m.add(m.on(m.image(other), "linux", "s390x", ""), "")
		m.add(m.on(m.image(oneLayer(t, "first")), "linux", host, ""), "")
		got, err := pickFrom(t, mapBag(m.all()), ImportOptions{Platform: "linux/" + host})
		require.NoError(t, err)
		require.Equal(t, "first", got)
	})
	t.Run("two for one platform in one index: the first, as the specification says", func(t *testing.T) {
		m := newMaker(t)
		var both []ocispec.Descriptor
		for _, body := range []string{"first", "second"} {
			both = append(both, m.on(m.image(oneLayer(t, body)), "linux", host, ""))
		}
		m.add(m.blob(ocispec.MediaTypeImageIndex, m.json(ocispec.Index{Manifests: both})), "app:1")
		got, err := pickFrom(t, mapBag(m.all()), ImportOptions{Platform: "linux/" + host})
		require.NoError(t, err)
		require.Equal(t, "first", got)
	})
	t.Run("one image that a Docker archive lists twice", func(t *testing.T) {
		one := dockerSave(t, []string{"a:1"}, oneLayer(t, "first").layers...)
		two := dockerSave(t, []string{"b:1"}, oneLayer(t, "first").layers...)
		b, err := indexed(dockerSaveAll(t, one, two))
		require.NoError(t, err)
		got, err := pickFrom(t, b, ImportOptions{})
		require.NoError(t, err)
		require.Equal(t, "first", got)
	})
}

func TestTwoNamesOfOneIndexAreBothItsNames(t *testing.T) {
	m := newMaker(t)
	index := m.blob(ocispec.MediaTypeImageIndex, m.json(ocispec.Index{Manifests: []ocispec.Descriptor{m.image(oneLayer(t, "first"))}}))
	m.add(index, "1")
	m.add(index, "latest")
	all, err := m.candidates()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, []string{"1", "latest"}, all[0].refs)
	require.Equal(t, []place{{1, index.Digest}}, all[0].places)
}

func TestNamedImagesAreChosenByNumberAndDigestToo(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(oneLayer(t, "first")), "app:1")
	m.add(m.image(oneLayer(t, "second")), "app:2")
	_, err := pickFrom(t, mapBag(m.all()), ImportOptions{})
	require.ErrorIs(t, err, ErrAmbiguous)
	got, err := pickFrom(t, mapBag(m.all()), ImportOptions{Image: "2"})
	require.NoError(t, err)
	require.Equal(t, "second", got)
}

func TestTheDigitsOfSeveralDigestsAreAmbiguous(t *testing.T) {
	all := []candidate{fakeCandidate("1", nil), fakeCandidate("2", nil)}
	all[0].manifest, all[1].manifest = digest.NewDigestFromEncoded(digest.SHA256, "abcd1"+digest.FromString("1").Encoded()[5:]), digest.NewDigestFromEncoded(digest.SHA256, "abcd2"+digest.FromString("2").Encoded()[5:])
	c, err := parseChoice("abcd")
	require.NoError(t, err)
	_, err = byChoice(all, c)
	require.ErrorIs(t, err, ErrAmbiguous)
	require.ErrorContains(t, err, all[0].manifest.String()+", "+all[1].manifest.String())
}

func TestAChoiceIsANumberOrADigest(t *testing.T) {
	for _, good := range []string{"", "1", "99999", "123456", "sha256:1234", "abcd", digest.FromString("x").String(), digest.SHA512.FromString("x").String()} {
		require.NoError(t, CheckChoice(good), good)
	}
	for _, bad := range []string{"0", "-1", "abc", "app:1", "sha256:xyz", "md5:12345678", " 1"} {
		require.ErrorIs(t, CheckChoice(bad), ErrInvalid, bad)
	}
}

func TestAChosenImageIsImported(t *testing.T) {
	s := newStore(t, "vfs")
	m, digests := twoUnnamed(t)
	dir := m.dir()
	file := writeFile(t, "two.tar", m.archive())
	for _, source := range []string{dir, file, "oci:" + dir} {
		_, err := s.importFrom(source, ImportOptions{Name: "x"})
		require.ErrorIs(t, err, ErrAmbiguous)
		img := s.mustImport(t, source, ImportOptions{Name: "x", Image: digests[1].String()})
		require.Equal(t, digests[1], img.Target.Digest)
	}
	src, err := ParseSource(dir, nil)
	require.NoError(t, err)
	_, _, err = src.Pack(t.Context(), ImportOptions{})
	require.ErrorIs(t, err, ErrAmbiguous, "what is sent to a service is refused before it is sent")
	out, done, err := src.Pack(t.Context(), ImportOptions{Image: "2"})
	require.NoError(t, err)
	defer done.Close()
	img, err := s.Import(t.Context(), out, ImportOptions{Name: "y", Image: "2"})
	require.NoError(t, err)
	require.Equal(t, digests[1], img.Target.Digest)
	require.Equal(t, filepath.Base(dir), out.Packed.Base)
}
