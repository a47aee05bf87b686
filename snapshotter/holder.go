package snapshotter

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// maxAddress is the largest length of the address in a signature, in bytes. The
// path of a unix socket is always shorter, see unix(7).
const maxAddress = 1024

// A Holder is the process that has a store open.
type Holder struct {
	// PID is the process ID. It is 0 when the process could not write it, for
	// example on a full disk.
	PID int
	// Address is the unix socket on which the process serves the store, empty
	// for none.
	Address string

	// readers: processes have the store open for reading only.
	readers bool
}

// HolderOf returns the process that has the store in root open for writing. ok
// is false when no process has, when there is no store, and when the lock
// cannot be read. The answer can be out of date at once.
func HolderOf(root string) (h Holder, ok bool) {
	f, err := ownfiles.Open(filepath.Join(root, lockName))
	if err != nil {
		return Holder{}, false
	}
	defer f.Close()
	// A process that was killed has left a signature, but holds no lock. When this
	// call takes the shared lock, it is released with f. A process that opens the
	// store at that moment has to try again.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return Holder{}, false
	}
	return holder(f), true
}

// String returns the process in the form of error messages.
func (h Holder) String() string {
	if h.readers {
		return "processes that read it"
	}
	who := "another process"
	if h.PID != 0 {
		who = "process " + strconv.Itoa(h.PID)
	}
	if h.Address != "" {
		who += ", which serves it on " + h.Address
	}
	return who
}

// advice returns String and what the user can do.
func (h Holder) advice() string {
	if h.Address != "" {
		return h.String() + ": use that address, or stop the service"
	}
	if h.readers {
		return h.String() + ": wait until they end"
	}
	return h.String() + ": wait until it ends"
}

// sign makes the signature of a process. It has the process ID on the first
// line, and the address, if there is one, on the second.
func sign(pid int, address string) (string, error) {
	text := strconv.Itoa(pid) + "\n"
	if address == "" {
		return text, nil
	}
	if len(address) > maxAddress || strings.ContainsAny(address, "\n\x00") || !filepath.IsAbs(address) {
		return "", fail(errdefs.ErrInvalidArgument, "address %q: it has to be an absolute path of at most %d bytes, on one line", address, maxAddress)
	}
	return text + address + "\n", nil
}

// holder reads the signature in a lock file. It ignores a line that is not
// complete.
func holder(f *os.File) Holder {
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, maxAddress+64))
	if err != nil {
		return Holder{}
	}
	first, rest, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid < 1 {
		return Holder{}
	}
	address, _, whole := strings.Cut(rest, "\n")
	if !whole || !filepath.IsAbs(address) {
		address = ""
	}
	return Holder{PID: pid, Address: address}
}
