package client

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// uploadChunk is how much is sent in one message.
const uploadChunk = 256 << 10

// errCutShort: a stream has ended without its result.
var errCutShort = fmt.Errorf("%w: it ended in the middle of its answer", ErrNoAnswer)

// An upload sends what a reader gives, beside the answers to it.
type upload struct {
	mu  sync.Mutex
	err error
}

// startUpload sends a first message at once, with no data perhaps, and closes
// when the reader ends. When the reader fails, the call is given up. It does
// not outlive the call, but for a Read that does not return.
func startUpload(c *call, r io.Reader, closeSend func() error, send func([]byte) error) *upload {
	u := &upload{}
	go func() {
		buf := make([]byte, uploadChunk)
		err := send(nil)
		for err == nil && c.ctx.Err() == nil {
			n, readErr := r.Read(buf)
			if n > 0 {
				// An error of the stream comes with its answer.
				err = send(buf[:n])
			}
			if errors.Is(readErr, io.EOF) {
				_ = closeSend() // the answer tells
				return
			}
			if readErr != nil {
				u.fail(readErr)
				c.giveUp()
				return
			}
		}
	}()
	return u
}

func (u *upload) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
}

// blame returns the error of a call, that of the reader if that is the reason,
// and whether it is.
func (u *upload) blame(err error, hasResult bool) (reader bool, _ error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil && hasResult:
		return false, nil
	case u.err != nil:
		return true, u.err
	case err == nil:
		return false, errCutShort
	}
	return false, err
}
