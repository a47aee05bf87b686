package graphdriver

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// fuzzCalls are the calls that the fuzz target makes. Get is left out: it
// mounts, and the process of a fuzz target can be killed at any time.
var fuzzCalls = []string{
	"Plugin.Activate", "GraphDriver.Init", "GraphDriver.Capabilities", "GraphDriver.Create", "GraphDriver.CreateReadWrite",
	"GraphDriver.Remove", "GraphDriver.Put", "GraphDriver.Exists", "GraphDriver.Status", "GraphDriver.GetMetadata",
	"GraphDriver.DiffSize", "GraphDriver.Diff", "GraphDriver.Changes", "GraphDriver.ApplyDiff", "GraphDriver.Cleanup", "NoCall",
}

// FuzzRequests makes a call with any query and body. It ends, with a status of
// 200 exactly if nothing is said of an error; what it makes has an ID that can
// be part of a path, and nothing beside the store changes.
func FuzzRequests(f *testing.F) {
	for call := range fuzzCalls {
		f.Add(byte(call), "id=new&parent=base", []byte(`{"ID":"base","Parent":""}`))
	}
	f.Add(byte(3), "", []byte(`{"ID":"new","Parent":"base","StorageOpt":{"size":"1G"}}`))
	f.Add(byte(3), "", []byte(`{"ID":"../x"}`))
	f.Add(byte(1), "", []byte(`{"Home":"/x","Opts":["a=b"],"UIDMaps":[{"container_id":0,"host_id":1,"size":2}]}`))
	f.Add(byte(13), "id=base&parent=", fstest.Layer(f, fstest.File("a", "1")))
	if !fstest.CanOwn(f, f.TempDir()) {
		f.Skip("layers need files of other owners, which are not permitted here")
	}
	dir := fstest.MemoryDir(f)
	store, err := snapshotter.Open(f.Context(), filepath.Join(dir, "store"), snapshotter.Options{Driver: "vfs"})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, store.Close()) })
	beside := filepath.Join(dir, "beside")
	require.NoError(f, os.Mkdir(beside, 0o700))
	d, err := New(f.Context(), store, Options{Name: testName, MountRoot: filepath.Join(beside, "mounts")})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, call byte, query string, body []byte) {
		requireStatus(t, d, "Create", "", []byte(`{"ID":"base"}`))
		safe := fstest.FromPath(t, beside)
		path := fuzzCalls[int(call)%len(fuzzCalls)]
		code, raw := serve(t, d, path, query, body)
		if path != "GraphDriver.Diff" || code != http.StatusOK {
			var a answer
			require.NoError(t, json.Unmarshal(raw, &a), "%s", raw)
			require.Equal(t, code == http.StatusOK, a.Err == "", "%s: %d %s", path, code, raw)
		}
		fstest.RequireEqual(t, safe, fstest.FromPath(t, beside), "beside the store")
		removeAll(t, d)
	})
}

func serve(t *testing.T, d *Driver, path, query string, body []byte) (int, []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://plugin/"+path, bytes.NewReader(body)).WithContext(t.Context())
	r.URL = &url.URL{Path: "/" + path, RawQuery: query}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes()
}

func requireStatus(t *testing.T, d *Driver, call, query string, body []byte) {
	t.Helper()
	code, raw := serve(t, d, "GraphDriver."+call, query, body)
	require.Equal(t, http.StatusOK, code, "%s", raw)
}

// removeAll removes every layer, which all have IDs that can be.
func removeAll(t *testing.T, d *Driver) {
	t.Helper()
	for before := -1; ; {
		var names []string
		require.NoError(t, d.store.DB().View(func(tx *meta.Tx) error {
			return tx.WalkSnapshots(func(row meta.Snapshot) error {
				names = append(names, row.Name)
				return nil
			})
		}))
		if len(names) == 0 {
			return
		}
		require.NotEqual(t, before, len(names), "%q stay", names)
		before = len(names)
		for _, name := range names {
			id, ours := strings.CutPrefix(name, "@docker-"+testName+"/")
			require.True(t, ours, name)
			id, _, _ = strings.Cut(id, "/")
			require.NoError(t, checkID(id))
			raw, err := json.Marshal(request{ID: id})
			require.NoError(t, err)
			serve(t, d, "GraphDriver.Remove", "", raw) // a parent goes after its children
		}
	}
}
