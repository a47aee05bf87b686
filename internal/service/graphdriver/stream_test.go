package graphdriver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// streamed returns what a client gets of a stream.
func (p *plugin) streamed(fn streamer) (status int, body []byte, err error) {
	p.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.driver.stream(w, r, "test", "text/plain", fn)
	}))
	defer server.Close()
	server.Config.ErrorLog = nil
	resp, err := server.Client().Post(server.URL, "", strings.NewReader(`{"ID":"l"}`))
	require.NoError(p.t, err)
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func TestAStreamThatFailsIsAnErrorOrBreaksOff(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.do("Create", request{ID: "l"})
	failed := errors.New("the disk is on fire")

	t.Run("at its beginning it is tried again, then an error", func(t *testing.T) {
		calls := 0
		status, body, err := p.streamed(func(_ context.Context, _ layer, _ string, w io.Writer) error {
			calls++
			_, err := io.WriteString(w, "a beginning")
			return errors.Join(err, failed)
		})
		require.NoError(t, err)
		require.Equal(t, http.StatusInternalServerError, status)
		require.Contains(t, p.parse(body).Err, failed.Error())
		require.Equal(t, attempts, calls)
	})
	t.Run("what works the second time is all that the client gets", func(t *testing.T) {
		calls := 0
		status, body, err := p.streamed(func(_ context.Context, _ layer, _ string, w io.Writer) error {
			if calls++; calls == 1 {
				_, err := io.WriteString(w, "a beginning")
				return errors.Join(err, failed)
			}
			_, err := io.WriteString(w, "all")
			return err
		})
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "all", string(body))
	})
	t.Run("in its middle it breaks off", func(t *testing.T) {
		calls := 0
		_, body, err := p.streamed(func(_ context.Context, _ layer, _ string, w io.Writer) error {
			calls++
			_, err := w.Write(make([]byte, 2*maxHeld))
			return errors.Join(err, failed)
		})
		require.Error(t, err, "got %d bytes as if they were all", len(body))
		require.Equal(t, 1, calls)
	})
}

func TestAReaderThatStallsDoesNotKeepALayerForEver(t *testing.T) {
	p := newPlugin(t, "vfs")
	p.do("Create", request{ID: "l"})
	p.driver.patience = 50 * time.Millisecond
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.driver.stream(w, r, "test", "text/plain", func(_ context.Context, _ layer, _ string, w io.Writer) (err error) {
			for err == nil {
				_, err = w.Write(make([]byte, maxHeld))
			}
			ended <- err
			return err
		})
	}))
	defer server.Close()
	resp, err := server.Client().Post(server.URL, "", strings.NewReader(`{"ID":"l"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	case <-time.After(fstest.Patience):
		require.Fail(t, "it still waits")
	}
	p.do("Remove", request{ID: "l"})
}

// A client that stops in the middle of a layer, or of a request, does not hold
// the layer for ever. The next request of a connection may come as late as it
// likes.
func TestASenderThatStallsDoesNotKeepALayerForEver(t *testing.T) {
	p := newPlugin(t, "vfs")
	p.do("Create", request{ID: "l"})
	p.driver.patience = 50 * time.Millisecond
	server := httptest.NewServer(p.driver)
	defer server.Close()
	layer := fstest.Layer(t, fstest.File("f", strings.Repeat("x", 100_000)))
	stalled, send := io.Pipe()
	defer send.Close()
	go func() {
		_, _ = send.Write(layer[:1000]) // and no more
	}()
	resp, err := server.Client().Post(server.URL+"/GraphDriver.ApplyDiff?id=l&parent=", "application/x-tar", stalled)
	if err == nil { // it is answered, or broken off
		body, _ := io.ReadAll(resp.Body)
		require.NoError(t, resp.Body.Close())
		require.NotEqual(t, http.StatusOK, resp.StatusCode, string(body))
		require.Contains(t, string(body), "the client has sent nothing for 50ms")
	}
	p.do("Remove", request{ID: "l"})

	for range 2 { // the same connection, which waits longer than the patience in between
		resp, err := server.Client().Post(server.URL+"/GraphDriver.Capabilities", "", strings.NewReader("{}"))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, errors.Join(err, resp.Body.Close()))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		time.Sleep(2 * p.driver.patience)
	}
}

func TestAContainerThatWritesDoesNotDisturbItsChanges(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, p *plugin) {
		p.mountsWritable()
		p.image("base", "", fstest.Dir("d"), fstest.File("d/f", "1"))
		p.do("CreateReadWrite", request{ID: "l", Parent: "base"})
		p.mounted("l", func(dir string) {
			write(t, dir, "stays", "12345")
			stop := make(chan struct{})
			done := make(chan error, 1)
			go func() { done <- churn(filepath.Join(dir, "d"), stop) }()
			rounds := 20
			if testing.Short() {
				rounds = 3
			}
			for range rounds {
				list := p.do("Changes", request{ID: "l", Parent: "base"}).Changes
				require.Contains(t, list, change{"/stays", changeAdd})
				require.GreaterOrEqual(t, p.do("DiffSize", request{ID: "l", Parent: "base"}).Size, int64(5))
			}
			close(stop)
			require.NoError(t, <-done)
		})
	})
}

// churn makes and removes files until stop is closed.
func churn(dir string, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		name := filepath.Join(dir, fmt.Sprint(i%10))
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			return err
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
}

func TestChangesAreListedAsDockerListsThem(t *testing.T) {
	dir := diff.Node{Mode: diff.TypeDir | 0o755}
	for name, c := range map[string]struct {
		changes []diff.Change
		want    []change
	}{
		"nothing":  {nil, nil},
		"the root": {[]diff.Change{{Kind: diff.Modify, Path: ".", Node: dir}}, nil},
		"a directory that does not say that it changed": {
			[]diff.Change{{Kind: diff.Delete, Path: "d/a"}, {Kind: diff.Add, Path: "d/b"}, {Kind: diff.Add, Path: "e/x"}},
			[]change{{"/d", changeModify}, {"/d/a", changeDelete}, {"/d/b", changeAdd}, {"/e", changeModify}, {"/e/x", changeAdd}},
		},
		"one that does": {
			[]diff.Change{
				{Kind: diff.Modify, Path: "d", Node: dir},
				{Kind: diff.Modify, Path: "d/sub", Node: dir},
				{Kind: diff.Add, Path: "d/sub/x"},
				{Kind: diff.Add, Path: "d/y"},
			},
			[]change{{"/d", changeModify}, {"/d/sub", changeModify}, {"/d/sub/x", changeAdd}, {"/d/y", changeAdd}},
		},
		"a file that changed": {
			[]diff.Change{{Kind: diff.Modify, Path: "d/f"}, {Kind: diff.Add, Path: "dd"}},
			[]change{{"/d/f", changeModify}, {"/dd", changeAdd}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			list := changeList{w: &out}
			for _, change := range c.changes {
				require.NoError(t, list.add(change))
			}
			require.NoError(t, list.end())
			require.Equal(t, c.want, (&plugin{t: t}).parse(out.Bytes()).Changes)
		})
	}
}

func TestAClientThatHangsUpHoldsNothing(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.image("l", "", fstest.File("big", strings.Repeat("0123456789abcdef", 1<<20)))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://plugin/GraphDriver.Diff", strings.NewReader(`{"ID":"l"}`))
	require.NoError(t, err)
	for range 3 {
		resp, err := p.client.Do(req.Clone(t.Context()))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		_, err = io.CopyN(io.Discard, resp.Body, 64<<10)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		req.Body = io.NopCloser(strings.NewReader(`{"ID":"l"}`))
	}
	p.do("Remove", request{ID: "l"}) // would wait for those who read it
	p.requireNothingLeft()
}
