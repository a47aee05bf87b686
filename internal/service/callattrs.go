package service

import (
	"log/slog"
	"path"
	"slices"
	"strings"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"google.golang.org/grpc/codes"
)

// reading lists operations that change nothing: they are for the log of who
// looks for a fault.
var reading = []string{
	"Stat", "List", "Mounts", "Usage", "Check", "Watch", "ServerReflectionInfo",
	"Info", "Images", "Resolve", "Notes", "Changes", "Hold",
}

// levelOf is how much a call matters in the log. That something is missing or
// there already is what engines ask for all day.
func levelOf(method string, code codes.Code) slog.Level {
	op := path.Base(method)
	switch code {
	case codes.OK:
		if slices.Contains(reading, op) || strings.HasPrefix(op, "Get") || strings.HasPrefix(op, "List") {
			return slog.LevelDebug
		}
		return slog.LevelInfo
	case codes.NotFound, codes.AlreadyExists, codes.Canceled, codes.Unimplemented:
		return slog.LevelInfo
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return slog.LevelError
	default:
		return slog.LevelWarn
	}
}

// subject says what a call is about: the operation and the names in its
// request.
func subject(method string, req any) []slog.Attr {
	service, op := path.Split(strings.TrimPrefix(method, "/"))
	attrs := []slog.Attr{slog.String("op", op), slog.String("service", strings.TrimSuffix(service, "/"))}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	switch r := req.(type) {
	case *diffapi.ApplyRequest:
		add("digest", r.GetDiff().GetDigest())
		return attrs
	case *diffapi.DiffRequest:
		add("ref", r.GetRef())
		return attrs
	case *snapshotsapi.UpdateSnapshotRequest:
		add("key", r.GetInfo().GetName())
		return attrs
	}
	if r, ok := req.(interface{ GetKey() string }); ok {
		add("key", r.GetKey())
	}
	if r, ok := req.(interface{ GetName() string }); ok {
		add("name", r.GetName())
	}
	if r, ok := req.(interface{ GetParent() string }); ok {
		add("parent", r.GetParent())
	}
	return attrs
}
