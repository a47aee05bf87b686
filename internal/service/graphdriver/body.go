package graphdriver

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// requestPatience is how long a client may take for the next piece of a small
// request. Docker sends it at once.
const requestPatience = 30 * time.Second

// A body is that of a request, of which the next piece must come within a time:
// a client that stops in the middle would otherwise hold a layer, and the call,
// for ever.
type body struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	// stalled is set when the time was over: the server ends the context of the
	// call as well, and its error would tell nothing.
	stalled error
}

func patientBody(w http.ResponseWriter, from io.ReadCloser, patience time.Duration) *body {
	return &body{ReadCloser: from, control: http.NewResponseController(w), patience: patience}
}

func (b *body) Read(p []byte) (int, error) {
	// What is no connection of a server has no such thing, and needs none.
	_ = b.control.SetReadDeadline(time.Now().Add(b.patience))
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.stalled = fmt.Errorf("the client has sent nothing for %s", b.patience)
	}
	return n, err
}

// done lets the connection wait for the next request as long as it likes, and
// adds to the error of the call that the client has stalled.
func (b *body) done(err error) error {
	_ = b.control.SetReadDeadline(time.Time{})
	if err != nil && b.stalled != nil {
		return fmt.Errorf("%w: %w", b.stalled, err)
	}
	return err
}
