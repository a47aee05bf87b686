package tar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// lookups merges layer over base into an empty upper directory. It returns how
// many names of the parents were looked up.
func lookups(t *testing.T, base, layer []fstest.Entry) int {
	t.Helper()
	dir := fstest.Scratch(t, fstest.Tmpfs)
	lower, upper := open(t, newRoot(t, filepath.Join(dir, "lower"))), open(t, newRoot(t, filepath.Join(dir, "upper")))
	d, _, err := Unpack(t.Context(), staging(t, dir), bytes.NewReader(fstest.Layer(t, base...)), UnpackOptions{Encoding: whiteout.Overlay})
	require.NoError(t, err)
	require.NoError(t, d.Merge(t.Context(), Target{Root: lower, Encoding: whiteout.Overlay}))
	const many = 1 << 30
	left := many
	d, _, err = Unpack(t.Context(), staging(t, dir), bytes.NewReader(fstest.Layer(t, layer...)),
		UnpackOptions{Parents: diff.DirView(lower), Encoding: whiteout.Overlay})
	require.NoError(t, err)
	err = d.Merge(t.Context(), Target{Root: upper, Below: faultyView{diff.DirView(lower), &left}, Encoding: whiteout.Overlay})
	require.NoError(t, err)
	return many - left
}

func TestMergingIntoAnEmptyUpperLooksOnlyAtWhatIsMarked(t *testing.T) {
	requireRoot(t)
	var base, layer []fstest.Entry
	for d := range 20 {
		dir := fmt.Sprintf("d%02d", d)
		base = append(base, fstest.Dir(dir), fstest.Dir(dir+"/s"))
		layer = append(layer, fstest.Dir(dir), fstest.Dir(dir+"/s"))
		for f := range 50 {
			base = append(base, fstest.File(fmt.Sprintf("%s/s/f%d", dir, f), "old"))
			layer = append(layer, fstest.File(fmt.Sprintf("%s/s/f%d", dir, f), "new"))
		}
	}
	require.Zero(t, lookups(t, base, layer), "a layer without markers and with an entry for every directory")
	marked := append(layer, fstest.Whiteout("d03/s/gone"), fstest.File("d04/s/implied/x", ""))
	require.Less(t, lookups(t, base, marked), 20, "one marker and one directory without an entry")
}

func TestADetachedLayerOverASymlinkNeedsItsParents(t *testing.T) {
	requireRoot(t)
	dir := fstest.Scratch(t, fstest.Tmpfs)
	lower, upper := open(t, newRoot(t, filepath.Join(dir, "lower"))), open(t, newRoot(t, filepath.Join(dir, "upper")))
	base := fstest.Layer(t, fstest.Dir("usr"), fstest.Dir("usr/lib"), fstest.Symlink("lib", "usr/lib"), fstest.File("f", ""), fstest.File("usr/t", "t"))
	d, _, err := Unpack(t.Context(), staging(t, dir), bytes.NewReader(base), UnpackOptions{})
	require.NoError(t, err)
	require.NoError(t, d.Merge(t.Context(), Target{Root: lower}))
	empty := fstest.FromPath(t, upper.Name())
	for name, entries := range map[string][]fstest.Entry{
		"below a symlink":                      {fstest.File("lib/x", "")},
		"below a symlink replaced later":       {fstest.File("lib/x", ""), fstest.File("lib", "")},
		"below a file":                         {fstest.File("f/x", "")},
		"a hard link to a file of the parents": {fstest.Link("l", "usr/t")},
	} {
		d, _, err := Unpack(t.Context(), staging(t, dir), bytes.NewReader(fstest.Layer(t, entries...)),
			UnpackOptions{Detached: true, Encoding: whiteout.Overlay})
		if err == nil {
			err = d.Merge(t.Context(), Target{Root: upper, Below: diff.DirView(lower), Encoding: whiteout.Overlay})
		}
		require.ErrorIs(t, err, ErrNeedsParents, name)
		fstest.RequireEqual(t, empty, fstest.FromPath(t, upper.Name()), name)
	}
}

func TestLoadDeltaRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{
		"", "{", `{"version":1}`, `{"version":2,"encoding":"plain","marks":[{"depth":0},{"depth":2,"name":"YQ=="}]}`,
		`{"version":2}`, `{"version":2,"encoding":"other"}`,
	} {
		_, err := LoadDelta(strings.NewReader(text), nil)
		require.Error(t, err, "%q", text)
	}
	for _, start := range []string{"{", `{"version":2,"encoding":"plain","marks":[`, `{"version":2,"encoding":"plain","marks":[{"depth":0},{"name":"`} {
		file := &counted{r: io.MultiReader(strings.NewReader(start), spaces{})}
		_, err := LoadDelta(file, nil)
		require.ErrorContains(t, err, "too long", start)
		require.Less(t, file.n, 1<<20, "bytes that were read")
	}
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// spaces is an endless reader.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Merge removes files by the names in a delta, so each must be a plain name of
// a file.
func TestLoadDeltaRefusesNamesThatLeadElsewhere(t *testing.T) {
	load := func(name string) error {
		text, err := json.Marshal(saved{Version: savedVersion, Encoding: whiteout.Overlay.String(), Marks: []savedMark{
			{}, {Depth: 1, Name: []byte(name), Whiteout: true},
		}})
		require.NoError(t, err)
		_, err = LoadDelta(bytes.NewReader(text), nil)
		return err
	}
	require.NoError(t, load("a"))
	require.NoError(t, load("..."))
	require.NoError(t, load("\xff"))
	for _, name := range []string{"", ".", "..", "a/b", "../a", "/etc", "a\x00", strings.Repeat("a", 256)} {
		require.ErrorContains(t, load(name), "no file can have", "%q", name)
	}
}

// A directory that Merge makes only to hide something inside it is removed
// again if there is nothing to hide.
func TestAWhiteoutOfNothingLeavesNothing(t *testing.T) {
	requireRoot(t)
	b := newOverlayBed(t, fstest.Quick(t))
	_, err := b.apply(t, fstest.Layer(t, fstest.Dir("d"), fstest.Dir("d/e"), fstest.File("d/e/f", "f")), UnpackOptions{})
	require.NoError(t, err)
	for _, c := range []struct {
		gone string
		want []string
	}{{"d/none", []string{"."}}, {"d/e/none", []string{"."}}, {"d/e/f", []string{".", "d", "d/e", "d/e/f"}}} {
		b.push(t)
		upper := b.layers[len(b.layers)-1]
		_, err := b.apply(t, fstest.Layer(t, fstest.Whiteout(c.gone)), UnpackOptions{})
		require.NoError(t, err)
		require.Equal(t, c.want, fstest.FromPath(t, upper).Paths(), c.gone)
	}
}
