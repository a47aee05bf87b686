package graphdriver

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

const testName = "test"

// A plugin is a driver that is called as an engine calls it: over a socket.
type plugin struct {
	t      testing.TB
	store  *snapshotter.Snapshotter
	driver *Driver
	mounts string // the root of the mount points
	client *http.Client
	stop   func()
}

// onEveryBackend runs the test with a plugin over each backend that works here.
func onEveryBackend(t *testing.T, fn func(t *testing.T, p *plugin)) {
	t.Helper()
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			fn(t, newPlugin(t, name))
		})
	}
}

// newPlugin starts a plugin over a new store.
func newPlugin(t testing.TB, driverName string) *plugin {
	t.Helper()
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	root := alltest.Place(t, t.TempDir(), driverName)
	store, err := snapshotter.Open(t.Context(), filepath.Join(root, "store"), snapshotter.Options{Driver: driverName})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	p := &plugin{t: t, store: store, mounts: t.TempDir()}
	p.start()
	t.Cleanup(func() {
		p.stop()
		for _, id := range p.mountedIDs() {
			require.NoError(t, unmount(filepath.Join(p.mounts, testName, id)))
		}
	})
	return p
}

// start makes a driver over the store and a server of it, as a new process
// would.
func (p *plugin) start() {
	p.t.Helper()
	d, err := New(p.t.Context(), p.store, Options{
		Name: testName, MountRoot: p.mounts, Logger: slog.New(slog.NewTextHandler(p.t.Output(), nil)),
	})
	require.NoError(p.t, err)
	socket := filepath.Join(fstest.ShortDir(p.t), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(p.t, err)
	server, done := d.Server(), make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	p.driver = d
	p.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	p.stop = func() {
		p.client.CloseIdleConnections()
		require.NoError(p.t, server.Shutdown(context.Background()))
		require.ErrorIs(p.t, <-done, http.ErrServerClosed)
		p.stop = func() {}
	}
}

// restart is what is left when the process ends and another one starts.
func (p *plugin) restart() {
	p.t.Helper()
	p.stop()
	p.start()
}

// An answer is a response with all fields that a call can give.
type answer struct {
	Err          string
	Implements   []string
	Dir          string
	Exists       bool
	Status       [][2]string
	Changes      []change
	Size         int64
	Metadata     map[string]string
	Capabilities map[string]bool
}

// post sends a request with any body.
func (p *plugin) post(path string, body io.Reader) (status int, raw []byte, err error) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://plugin/"+path, body)
	require.NoError(p.t, err)
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	raw, err = io.ReadAll(resp.Body)
	return resp.StatusCode, raw, err
}

// call makes a call.
func (p *plugin) call(method string, req any) answer {
	p.t.Helper()
	raw, err := json.Marshal(req)
	require.NoError(p.t, err)
	return p.answer(method, bytes.NewReader(raw))
}

// answer posts a request and returns what comes back, which is an error when
// the status says so, and only then.
func (p *plugin) answer(path string, body io.Reader) answer {
	p.t.Helper()
	status, raw, err := p.post(path, body)
	require.NoError(p.t, err)
	a := p.parse(raw)
	require.Equal(p.t, status == http.StatusOK, a.Err == "", "%s: %d %s", path, status, raw)
	return a
}

func (p *plugin) parse(body []byte) (a answer) {
	p.t.Helper()
	require.NoError(p.t, json.Unmarshal(body, &a), "%s", body)
	return a
}

// do is call for a call that has to succeed.
func (p *plugin) do(method string, req request) answer {
	p.t.Helper()
	a := p.call("GraphDriver."+method, req)
	require.Empty(p.t, a.Err, "%s %+v", method, req)
	return a
}

// refused is call for a call that has to fail, with a text.
func (p *plugin) refused(method string, req any, text string) {
	p.t.Helper()
	require.Contains(p.t, p.call("GraphDriver."+method, req).Err, text, "%s %+v", method, req)
}

// apply sends a layer.
func (p *plugin) apply(id, parent string, layer io.Reader) answer {
	p.t.Helper()
	query := url.Values{"id": {id}, "parent": {parent}}
	return p.answer("GraphDriver.ApplyDiff?"+query.Encode(), layer)
}

// image makes a layer of an image.
func (p *plugin) image(id, parent string, entries ...fstest.Entry) int64 {
	p.t.Helper()
	p.do("Create", request{ID: id, Parent: parent})
	a := p.apply(id, parent, bytes.NewReader(fstest.Layer(p.t, entries...)))
	require.Empty(p.t, a.Err)
	return a.Size
}

// diff returns the changes of a layer as a tar.
func (p *plugin) diff(id, parent string) []byte {
	p.t.Helper()
	raw, err := json.Marshal(request{ID: id, Parent: parent})
	require.NoError(p.t, err)
	status, body, err := p.post("GraphDriver.Diff", bytes.NewReader(raw))
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, status, "%s", body)
	return body
}

// mounted calls fn while the layer is mounted.
func (p *plugin) mounted(id string, fn func(dir string)) {
	p.t.Helper()
	dir := p.do("Get", request{ID: id}).Dir
	fn(dir)
	p.do("Put", request{ID: id})
}

// shows returns the tree of a layer.
func (p *plugin) shows(id string) (tree fstest.Tree) {
	p.t.Helper()
	p.mounted(id, func(dir string) { tree = fstest.FromPath(p.t, dir) })
	return tree
}

// mountsWritable skips the test where layers cannot be mounted to be written
// to.
func (p *plugin) mountsWritable() {
	p.t.Helper()
	if !p.store.Driver().Properties().MountsWritable {
		p.t.Skipf("the driver %s mounts nothing here that can be written to", p.store.Driver().Name())
	}
}

func (p *plugin) mountedIDs() []string {
	p.t.Helper()
	ids, err := mountedBelow(filepath.Join(p.mounts, testName))
	require.NoError(p.t, err)
	return ids
}

// requireNothingLeft fails unless all layers, mounts and mount points are gone.
func (p *plugin) requireNothingLeft() {
	p.t.Helper()
	require.NoError(p.t, p.store.Cleanup(p.t.Context()))
	require.NoError(p.t, p.store.DB().View(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			require.Fail(p.t, "a row is left", "%s", row.Name)
			return nil
		})
	}))
	layers, err := p.store.Driver().Layers(p.t.Context())
	require.NoError(p.t, err)
	require.Empty(p.t, layers, "layers on disk")
	require.Empty(p.t, p.mountedIDs(), "mounts")
	points, err := os.ReadDir(filepath.Join(p.mounts, testName))
	require.NoError(p.t, err)
	require.Empty(p.t, points, "mount points")
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
}
