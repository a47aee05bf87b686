package snapshotter

import (
	"bytes"
	"context"
	"encoding/json"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
)

// known returns what the driver found out before on this kernel, nil for
// nothing.
func (h header) known() json.RawMessage {
	if h.Kernel == "" || h.Kernel != kernelRelease() {
		return nil
	}
	return h.Found
}

// find adds what the driver has found out to the header, and reports whether
// that is news.
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

// remember keeps in the header what the driver has found out, and other news.
// Without the room for it there is only the less to go by the next time.
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

// compact is JSON without spaces, as the header's are not those of the driver.
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
