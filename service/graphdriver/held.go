package graphdriver

import (
	"bytes"
	"net/http"
)

// maxHeld is how much of a response is held back, in bytes.
const maxHeld = 1 << 20

// held is a response whose beginning waits, so that it can still become an error,
// or be written anew.
type held struct {
	w         http.ResponseWriter
	mediaType string
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
	return h.w.Write(p)
}

// release writes what was held back, and holds nothing back from then on.
func (h *held) release() error {
	if h.released {
		return nil
	}
	h.released = true
	h.w.Header().Set("Content-Type", h.mediaType)
	_, err := h.buf.WriteTo(h.w)
	return err
}

func (h *held) rewind() bool {
	h.buf.Reset()
	return !h.released
}
