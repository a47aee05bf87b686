package graphdriver

import (
	"bytes"
	"net/http"
	"time"
)

// maxHeld is how much of a response is held back, in bytes.
const maxHeld = 1 << 20

// readPatience is how long a client may take to read the next piece of a
// response, or to send that of a layer: as long as that is not over, nobody can
// remove the layer.
const readPatience = 5 * time.Minute

// held is a response whose beginning waits, so that it can still become an
// error, or be written anew.
type held struct {
	w         http.ResponseWriter
	mediaType string
	patience  time.Duration
	buf       bytes.Buffer
	released  bool
}

// Write holds p back, or writes it when there is too much to hold.
func (h *held) Write(p []byte) (int, error) {
	if !h.released {
		if h.buf.Len()+len(p) <= maxHeld {
			return h.buf.Write(p)
		}
		if err := h.release(); err != nil {
			return 0, err
		}
	}
	h.wait(h.patience)
	return h.w.Write(p)
}

// wait sets how long the client may take from now on; 0 is as long as it likes.
func (h *held) wait(patience time.Duration) {
	var until time.Time
	if patience > 0 {
		until = time.Now().Add(patience)
	}
	// What is no connection of a server has no such thing, and needs none.
	_ = http.NewResponseController(h.w).SetWriteDeadline(until)
}

// release writes what was held back, and holds nothing back from then on.
func (h *held) release() error {
	if h.released {
		return nil
	}
	h.released = true
	h.w.Header().Set("Content-Type", h.mediaType)
	h.wait(h.patience)
	_, err := h.buf.WriteTo(h.w)
	return err
}

func (h *held) rewind() bool {
	h.buf.Reset()
	return !h.released
}
