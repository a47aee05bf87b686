package grpcerr

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/containerd/errdefs"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrNoAnswer matches errors of calls that the service did not answer: it is
// not there, went away in the middle, or something else answered in its place.
var ErrNoAnswer = errors.New("no answer from the service")

// FromGRPC returns the error of a call as the server meant it: with its text,
// and matching what it matches there, as far as it has a name in this package.
// An error that did not come from the service, such as that of a lost
// connection, matches [ErrNoAnswer], and context.Canceled or
// context.DeadlineExceeded if that is its code. It returns nil and io.EOF as
// they are.
func FromGRPC(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if r := (*remote)(nil); errors.As(err, &r) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	r := &remote{status: st}
	for _, d := range st.Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != Domain {
			continue
		}
		r.answered = true
		if info.GetReason() == reasonPath {
			m := info.GetMetadata()
			r.path = &fs.PathError{Op: m["op"], Path: m["path"], Err: errors.New(m["error"])}
		}
		for _, s := range sentinels() {
			if s.reason == info.GetReason() {
				r.matches = append(r.matches, s.err)
			}
		}
	}
	if !r.answered {
		r.matches = append(r.matches, unanswered(st.Code())...)
	}
	return r
}

// unanswered lists what an error matches that brought no names.
func unanswered(code codes.Code) []error {
	switch code {
	case codes.Canceled:
		return []error{context.Canceled}
	case codes.DeadlineExceeded:
		return []error{context.DeadlineExceeded}
	case codes.Unavailable:
		return []error{errdefs.ErrUnavailable, ErrNoAnswer}
	case codes.Unimplemented:
		return []error{errdefs.ErrNotImplemented, ErrNoAnswer}
	case codes.ResourceExhausted:
		return []error{errdefs.ErrResourceExhausted} // a limit of gRPC's own
	default:
		return []error{ErrNoAnswer}
	}
}

// remote is an error of the service on the client's side.
type remote struct {
	status   *status.Status
	answered bool
	matches  []error
	path     *fs.PathError
}

func (r *remote) Error() string { return r.status.Message() }

// GRPCStatus returns the status that came.
func (r *remote) GRPCStatus() *status.Status { return r.status }

// Is reports whether the error in the server matched target.
func (r *remote) Is(target error) bool {
	for _, m := range r.matches {
		if errors.Is(m, target) {
			return true
		}
	}
	return false
}

// As gives the parts of an *fs.PathError.
func (r *remote) As(target any) bool {
	p, ok := target.(**fs.PathError)
	if ok && r.path != nil {
		*p = r.path
	}
	return ok && r.path != nil
}
