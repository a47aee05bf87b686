package grpcerr

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/containerd/errdefs"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

const (
	// Domain is that of the details which name sentinel errors.
	Domain = "layerkeep"

	// reasonOther marks an error of ours that matches no sentinel.
	reasonOther = "OTHER"
	// reasonPath brings the parts of an *fs.PathError.
	reasonPath = "PATH_ERROR"

	// maxMessage bounds the text of an error, in bytes: it travels in a header,
	// once as text and once more in the details, and peers refuse large ones.
	maxMessage = 2048
)

// Code returns the status code for err: that of its status if it has one, else
// that of what the machine lacks or of who gave up, else that of its kind in
// package errdefs, else that of the sentinel that it matches; codes.OK for nil,
// codes.Unknown if nothing is known.
func Code(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	if st, ok := status.FromError(err); ok {
		return st.Code()
	}
	if code := codeIn(systemErrors(), err); code != codes.OK {
		return code
	}
	// What a package of ours says of the kind of its error counts more than what
	// the error is made of: a busy layer is no reason to try again for whom it
	// says so.
	if kind := errdefs.Resolve(err); !errdefs.IsUnknown(kind) {
		if code := codeIn(kinds(), kind); code != codes.OK {
			return code
		}
	}
	if code := codeIn(append(ownErrors(), kinds()...), err); code != codes.OK {
		return code
	}
	return codes.Unknown
}

// codeIn returns the code of the first sentinel that err matches, codes.OK if
// there is none.
func codeIn(sentinels []sentinel, err error) codes.Code {
	for _, s := range sentinels {
		if s.code != codes.OK && errors.Is(err, s.err) {
			return s.code
		}
	}
	return codes.OK
}

// ToGRPC returns err as an error that gRPC sends with the right code. It keeps
// matching what err matches, so that the interceptors still find the names of
// that. It returns nil for nil, and an error that has a status already as it
// is.
func ToGRPC(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return coded{err: err, status: status.New(Code(err), text(err))}
}

// coded is an error with its status.
type coded struct {
	err    error
	status *status.Status
}

func (c coded) Error() string              { return c.err.Error() }
func (c coded) Unwrap() error              { return c.err }
func (c coded) GRPCStatus() *status.Status { return c.status }

// detailed is ToGRPC with the names of what err matches.
func detailed(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok || len(st.Details()) == 0 {
		st = status.New(Code(err), text(err))
	}
	if own(st) {
		return err
	}
	if with, detailErr := st.WithDetails(details(err)...); detailErr == nil {
		st = with
	}
	return coded{err: err, status: st}
}

// details names what err matches: at least that it is an error of ours.
func details(err error) []protoadapt.MessageV1 {
	var infos []protoadapt.MessageV1
	for _, s := range sentinels() {
		if errors.Is(err, s.err) {
			infos = append(infos, &errdetails.ErrorInfo{Domain: Domain, Reason: s.reason})
		}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		infos = append(infos, &errdetails.ErrorInfo{Domain: Domain, Reason: reasonPath, Metadata: map[string]string{
			"op": clean(path.Op), "path": clean(path.Path), "error": clean(path.Err.Error()),
		}})
	}
	if len(infos) == 0 {
		infos = append(infos, &errdetails.ErrorInfo{Domain: Domain, Reason: reasonOther})
	}
	return infos
}

// own reports whether the status names sentinels already.
func own(st *status.Status) bool {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return true
		}
	}
	return false
}

// text is the message of err as it travels. An error that has a status is
// printed as that status, which is not for people: its own message is.
func text(err error) string {
	if st, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return clean(st.GRPCStatus().Message())
	}
	return clean(err.Error())
}

// clean makes text fit for a protobuf string, and not too long.
func clean(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
