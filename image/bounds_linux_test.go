package image

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// repeated returns a document in which one text is repeated until it has about
// the largest size that is read.
func repeated(before, element, after string) []byte {
	n := (maxDocument - len(before) - len(after)) / (len(element) + 1)
	return []byte(before + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + after)
}

// withIndex returns a layout with this index.json.
func withIndex(t testing.TB, raw []byte) map[string][]byte {
	files := newMaker(t).all()
	files["index.json"] = raw
	return files
}

// hostileJSON has sources of a few kilobytes compressed.
func hostileJSON(t testing.TB) map[string]map[string][]byte {
	entry := func(i int) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%064x","size":1}`, ocispec.MediaTypeImageManifest, i)
	}
	var entries []string
	for i := range maxCandidates - 1 {
		entries = append(entries, entry(i))
	}
	nested := newMaker(t)
	for i := range 2 * maxListedImages / maxCandidates {
		raw := fmt.Sprintf(`{"schemaVersion":2,"x":%d,"manifests":[%s]}`, i, strings.Join(entries, ","))
		nested.add(nested.blob(ocispec.MediaTypeImageIndex, []byte(raw)), fmt.Sprint("name", i))
	}
	config := newMaker(t)
	d := config.image(imageSpec{})
	man := config.manifestOf(d)
	man.Config = config.blob(ocispec.MediaTypeImageConfig, repeated(`{"architecture":"amd64","os":"linux","history":[`, `{}`, `]}`))
	config.add(config.blob(d.MediaType, config.json(man)), "app:1")
	layers := newMaker(t)
	layers.add(layers.blob(d.MediaType, repeated(`{"schemaVersion":2,"layers":[`, `{}`, `]}`)), "app:1")
	manyConfigs := newMaker(t)
	long := []byte(`{"architecture":"amd64","os":"linux","x":"` + strings.Repeat("x", maxDocument-100) + `"}`)
	for i := range 30 {
		spec := imageSpec{manifest: func(m *ocispec.Manifest) {
			m.Config = manyConfigs.blob(ocispec.MediaTypeImageConfig, long)
			m.Annotations = map[string]string{"n": fmt.Sprint(i)}
		}}
		manyConfigs.add(manyConfigs.image(spec), "")
	}
	return map[string]map[string][]byte{
		"an index of empty objects":  withIndex(t, repeated(`{"manifests":[`, `{}`, `]}`)),
		"an index of strings":        withIndex(t, repeated(`{"manifests":[{"urls":[`, `""`, `]}]}`)),
		"an index of annotations":    withIndex(t, repeated(`{"annotations":{`, `"":""`, `}}`)),
		"levels":                     withIndex(t, []byte(strings.Repeat("[", maxDocument))),
		"a media type":               withIndex(t, []byte(`{"manifests":[{"mediaType":"`+strings.Repeat("x", maxDocument-100)+`"}]}`)),
		"nested indexes":             nested.all(),
		"a config of empty objects":  config.all(),
		"a manifest of layers":       layers.all(),
		"more documents than memory": manyConfigs.all(),
		"images of a Docker archive": {dockerManifestFile: repeated(`[`, `{}`, `]`)},
		"layers of a Docker archive": {dockerManifestFile: repeated(`[{"Layers":[`, `""`, `]}]`)},
	}
}

const hostileFile = "LAYERKEEP_TEST_HOSTILE"

// TestHostileJSONTakesLittleMemory reads each source in a separate process,
// because only the kernel knows the peak memory.
func TestHostileJSONTakesLittleMemory(t *testing.T) {
	if name := os.Getenv(hostileFile); name != "" {
		f, err := os.Open(name)
		require.NoError(t, err)
		b, err := indexTar(t.Context(), f)
		require.NoError(t, err)
		all, err := listCandidates(t.Context(), Detect, b)
		if err == nil {
			want, _ := ImportOptions{}.wanted("")
			_, _, err = pick(all, want)
		}
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorIs(t, err, errBound)
		require.Less(t, len(err.Error()), 2*maxText)
		status, err := os.ReadFile("/proc/self/status")
		require.NoError(t, err)
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		peak, _, _ = strings.Cut(peak, "kB")
		fmt.Printf("peak %s\n", strings.TrimSpace(peak))
		return
	}
	for name, files := range hostileJSON(t) {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestHostileJSONTakesLittleMemory$")
			cmd.Env = append(os.Environ(), hostileFile+"="+writeFile(t, "hostile.tar", tarOf(t, files)))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%.2000s", out)
			_, peak, _ := strings.Cut(string(out), "peak ")
			peak, _, _ = strings.Cut(peak, "\n")
			kib, err := strconv.Atoi(peak)
			require.NoError(t, err)
			cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			t.Logf("peak %d MiB, %v of processor time", kib>>10, cpu)
			require.Less(t, kib>>10, 150)
			require.Less(t, cpu, time.Minute)
		})
	}
}

func TestAnIndexAtItsBoundsIsRead(t *testing.T) {
	var index ocispec.Index
	for i := range maxCandidates {
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 1000,
			Platform:    &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"},
			Annotations: map[string]string{ocispec.AnnotationRefName: fmt.Sprint("v", i), "org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
		})
	}
	m := newMaker(t)
	m.index = index
	all, err := m.candidates()
	require.NoError(t, err)
	require.Len(t, all, maxCandidates)
	m.index.Manifests = append(m.index.Manifests, index.Manifests[0])
	_, err = m.candidates()
	require.ErrorIs(t, err, errBound)
}

func TestValuesOfJSONAreCountedAndNotThoseInStrings(t *testing.T) {
	require.NoError(t, checkJSON([]byte(`{"a":"`+strings.Repeat(`,[{\"`, maxJSONValues)+`"}`)))
	require.NoError(t, checkJSON([]byte(strings.Repeat("[", maxJSONDepth)+strings.Repeat("]", maxJSONDepth))))
	require.ErrorIs(t, checkJSON([]byte(strings.Repeat("[", maxJSONDepth+1))), errBound)
	require.ErrorIs(t, checkJSON([]byte(strings.Repeat("{}", maxJSONValues+1))), errBound)
	require.NoError(t, checkList([]byte(`[1,[2,2,2],{"a":[3,3]},"4,4,4"]`), 4, "things"))
	require.ErrorIs(t, checkList([]byte(`[1,[2,2,2],{"a":[3,3]},"4,4,4",5]`), 4, "things"), errBound)
	require.NoError(t, checkList([]byte(`null`), 1, "things"))
	for _, cut := range []string{`"`, `"\`, `{"a\`} {
		require.NoError(t, checkJSON([]byte(cut)), "the parser says what is wrong with it")
	}
}
