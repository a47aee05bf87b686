package graphdriver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// mediaType is that of version 1.2 of the plugin protocol.
	mediaType = "application/vnd.docker.plugins.v1.2+json"
	// maxRequest is the most that a request in JSON may have, in bytes.
	maxRequest = 1 << 20
)

// A call answers one request in JSON.
type call[T any] func(ctx context.Context, req T) (response, error)

// routes has the 16 calls of the protocol; any other one is not found.
func (d *Driver) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("POST /Plugin.Activate", handle(d, "activate", d.activate))
	mux.Handle("POST /GraphDriver.Init", handle(d, "init", d.init))
	mux.Handle("POST /GraphDriver.Capabilities", handle(d, "capabilities", d.capabilities))
	mux.Handle("POST /GraphDriver.Create", handle(d, "create", d.create))
	mux.Handle("POST /GraphDriver.CreateReadWrite", handle(d, "create read-write", d.create))
	mux.Handle("POST /GraphDriver.Remove", handle(d, "remove", d.remove))
	mux.Handle("POST /GraphDriver.Get", handle(d, "get", d.get))
	mux.Handle("POST /GraphDriver.Put", handle(d, "put", d.put))
	mux.Handle("POST /GraphDriver.Exists", handle(d, "exists", d.exists))
	mux.Handle("POST /GraphDriver.Status", handle(d, "status", d.status))
	mux.Handle("POST /GraphDriver.GetMetadata", handle(d, "metadata", d.metadata))
	mux.Handle("POST /GraphDriver.Cleanup", handle(d, "cleanup", d.cleanup))
	mux.Handle("POST /GraphDriver.DiffSize", handle(d, "diff size", d.diffSize))
	mux.HandleFunc("POST /GraphDriver.Diff", d.serveDiff)
	mux.HandleFunc("POST /GraphDriver.Changes", d.serveChanges)
	mux.HandleFunc("POST /GraphDriver.ApplyDiff", d.serveApply)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("%s %s is no call of a graph driver", r.Method, r.URL.Path))
	})
	return mux
}

// handle makes a handler of a call.
func handle[T any](d *Driver, op string, fn call[T]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		var req T
		if err := decode(w, r, &req); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		resp, err := fn(r.Context(), req)
		d.record(r.Context(), op, idOf(req), start, err)
		if err != nil {
			fail(w, statusOf(err), err)
			return
		}
		reply(w, http.StatusOK, resp)
	})
}

// decode reads the request; an empty one has no fields.
func decode(w http.ResponseWriter, r *http.Request, req any) (err error) {
	body := patientBody(w, r.Body, requestPatience)
	defer func() { err = body.done(err) }()
	dec := json.NewDecoder(http.MaxBytesReader(w, body, maxRequest))
	if err := dec.Decode(req); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the request: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read the request: something follows it")
	}
	return nil
}

func reply(w http.ResponseWriter, status int, resp response) {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	// The client has gone if this fails, and asks again if it wants to know.
	_ = json.NewEncoder(w).Encode(resp)
}

func fail(w http.ResponseWriter, status int, err error) {
	reply(w, status, response{Err: err.Error()})
}

func idOf(req any) string {
	if r, ok := req.(request); ok {
		return r.ID
	}
	return ""
}

// record writes the call to the log.
func (d *Driver) record(ctx context.Context, op, id string, start time.Time, err error) {
	level, attrs := slog.LevelDebug, []slog.Attr{slog.String("op", op), slog.Duration("duration", time.Since(start))}
	if id != "" {
		attrs = append(attrs, slog.String("layer", id))
	}
	if err != nil {
		level, attrs = slog.LevelWarn, append(attrs, slog.Any("error", err))
	}
	d.log.LogAttrs(context.WithoutCancel(ctx), level, "graph driver call", attrs...)
}

// statusOf is the status with which a call fails. Docker takes any but 200 for
// a failure, shows what the response says of it, and does not try again.
func statusOf(err error) int {
	switch {
	case errdefs.IsNotFound(err):
		return http.StatusNotFound
	case errdefs.IsInvalidArgument(err):
		return http.StatusBadRequest
	default:
		return http.StatusInternalServerError
	}
}
