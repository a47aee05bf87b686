package snapshotter

import (
	"bytes"
	"context"
	"encoding/json"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
)

// known returns what a driver has found out on this kernel release before, or
// nil.
func (h header) known() json.RawMessage {
	if h.Kernel == "" || h.Kernel != kernelRelease() {
		return nil
	}
	return h.Found
}

// find puts what the driver has found out into the header, and reports whether
// the header has changed.
func (h *header) find(d driver.Driver) bool {
	r, ok := d.(driver.Rememberer)
	if !ok {
		return false
	}
	found := r.Found()
	if found == nil || h.Kernel == kernelRelease() && bytes.Equal(compact(h.Found), compact(found)) {
		return false
	}
	h.Found, h.Kernel = found, kernelRelease()
	return true
}

// remember writes what the driver has found out to the header file. With news
// it writes the header also when only other fields have changed. On a full disk
// it writes nothing, and the next opening has to find out again.
func (s *Snapshotter) remember(ctx context.Context, h header, news bool) error {
	if !h.find(s.driver) && !news {
		return nil
	}
	err := writeHeader(s.root, h)
	if durable.NoRoom(err) {
		s.log.InfoContext(ctx, "no room for what the driver has found out", "error", err)
		return nil
	}
	return err
}

// compact removes the spaces of JSON. The header is indented, and what the
// driver returns is not.
func compact(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return nil
	}
	return b.Bytes()
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
