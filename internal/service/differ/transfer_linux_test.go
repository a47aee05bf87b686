package differ

import (
	"context"
	"io"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// endedStream is a stream that the engine has ended, for a reason or without
// one, after some answers that nobody has received yet.
type endedStream struct {
	contentapi.Content_WriteClient
	answers int
	why     error
}

func (s *endedStream) Context() context.Context                   { return context.Background() }
func (s *endedStream) Send(*contentapi.WriteContentRequest) error { return io.EOF }
func (s *endedStream) Recv() (*contentapi.WriteContentResponse, error) {
	if s.answers > 0 {
		s.answers--
		return &contentapi.WriteContentResponse{}, nil
	}
	return nil, s.why
}

func TestAStreamThatTheEngineHasEndedSaysWhy(t *testing.T) {
	full := status.Error(codes.ResourceExhausted, "no space left on device")
	for _, answers := range []int{0, 1} {
		err := tellingStream{&endedStream{answers: answers, why: full}}.Send(nil)
		require.ErrorIs(t, err, full)
		require.ErrorIs(t, tellingStream{&endedStream{answers: answers, why: io.EOF}}.Send(nil), io.EOF)
	}
}
