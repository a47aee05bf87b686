package differ

import (
	"context"
	"errors"
	"io"
)

const (
	// sendSize is the size of a message to the engine, in bytes: every one is
	// answered before the next.
	sendSize = 1 << 20
	// sendAhead is how many of them wait.
	sendAhead = 3
)

// errUpload says that the goroutine that sends has given up, and why is known
// to close.
var errUpload = errors.New("the upload has failed")

// An upload writes to w in large pieces, beside the one who writes to it. It
// begins no further piece once its context has ended.
type upload struct {
	ctx    context.Context //nolint:containedctx // lives as long as the call
	piece  []byte
	pieces chan []byte
	spare  chan []byte
	done   chan struct{}
	err    error // set before done is closed
}

func newUpload(ctx context.Context, w io.Writer) *upload {
	u := &upload{
		ctx: ctx, piece: make([]byte, 0, sendSize), done: make(chan struct{}),
		pieces: make(chan []byte, sendAhead), spare: make(chan []byte, sendAhead+1),
	}
	go u.run(w)
	return u
}

func (u *upload) run(w io.Writer) {
	defer close(u.done)
	for piece := range u.pieces {
		if u.err = u.ctx.Err(); u.err != nil {
			return
		}
		if _, u.err = w.Write(piece); u.err != nil {
			return
		}
		select {
		case u.spare <- piece[:0]:
		default:
		}
	}
}

// Write implements io.Writer.
func (u *upload) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), sendSize-len(u.piece))
		u.piece = append(u.piece, p[:n]...)
		p, written = p[n:], written+n
		if len(u.piece) == sendSize {
			if err := u.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// flush hands over the piece that is being filled.
func (u *upload) flush() error {
	select {
	case u.pieces <- u.piece:
	case <-u.done:
		return errUpload
	case <-u.ctx.Done():
		return u.ctx.Err()
	}
	select {
	case u.piece = <-u.spare:
	default:
		u.piece = make([]byte, 0, sendSize)
	}
	return nil
}

// close sends what is left and returns when nothing is being sent any more. The
// error is that of the first write that failed.
func (u *upload) close() error {
	var err error
	if len(u.piece) > 0 {
		err = u.flush()
	}
	close(u.pieces)
	<-u.done
	if u.err != nil {
		return u.err
	}
	return err
}
