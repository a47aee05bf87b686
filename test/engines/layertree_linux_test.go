package engines

import (
	stdtar "archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// A layerTree is what a layer's tar says of each name in it.
type layerTree map[string]layerEntry

// A layerEntry is an entry of a tar, without what is only its form.
type layerEntry struct {
	Type     byte
	Mode     int64
	UID, GID int
	Link     string
	Device   [2]int64
	Xattrs   map[string]string
	ModTime  time.Time
	Content  string
}

func (l layerTree) names() []string { return slices.Sorted(maps.Keys(l)) }

// imageLayers reads the layers of the only image in an OCI archive.
func imageLayers(t testing.TB, archive string) []layerTree {
	t.Helper()
	files := map[string][]byte{}
	f, err := os.Open(archive)
	require.NoError(t, err)
	defer f.Close()
	for tr := stdtar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		files[h.Name], err = io.ReadAll(tr)
		require.NoError(t, err)
	}
	blob := func(d ocispec.Descriptor) []byte {
		data, ok := files["blobs/sha256/"+d.Digest.Encoded()]
		require.True(t, ok, "no blob %s in %s", d.Digest, archive)
		return data
	}
	var index ocispec.Index
	require.NoError(t, json.Unmarshal(files["index.json"], &index))
	require.Len(t, index.Manifests, 1)
	var manifest ocispec.Manifest
	require.NoError(t, json.Unmarshal(blob(index.Manifests[0]), &manifest))
	var layers []layerTree
	for _, l := range manifest.Layers {
		layers = append(layers, readLayer(t, blob(l)))
	}
	return layers
}

// readLayer reads a layer compressed with gzip.
func readLayer(t testing.TB, data []byte) layerTree {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	layer := layerTree{}
	for tr := stdtar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return layer
		}
		require.NoError(t, err)
		content, err := io.ReadAll(tr)
		require.NoError(t, err)
		xattrs := map[string]string{}
		for key, value := range h.PAXRecords {
			if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				xattrs[name] = value
			}
		}
		layer[strings.TrimPrefix(path.Clean("/"+h.Name), "/")] = layerEntry{
			Type: h.Typeflag, Mode: h.Mode, UID: h.Uid, GID: h.Gid, Link: h.Linkname, Device: [2]int64{h.Devmajor, h.Devminor},
			Xattrs: xattrs, ModTime: h.ModTime.UTC(), Content: string(content),
		}
	}
}

// requireSameLayers requires that layers are equal but for the times of what
// was written since: no two builds write at the same time.
func requireSameLayers(t testing.TB, want, got []layerTree, since time.Time) {
	t.Helper()
	since = since.Truncate(time.Second)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].names(), got[i].names(), "layer %d", i)
		for name, w := range want[i] {
			g := got[i][name]
			if !w.ModTime.Before(since) && !g.ModTime.Before(since) {
				w.ModTime, g.ModTime = time.Time{}, time.Time{}
			}
			require.Equal(t, w, g, "%s in layer %d", name, i)
		}
	}
}
