package mount

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// keptNamespaces is how many user namespaces a process keeps.
const keptNamespaces = 4

// namespaces are the user namespaces that were used last, by their maps, the
// newest one last. To make one, the kernel copies the page tables of the
// process, which takes a large one longer than a mount.
var namespaces struct {
	sync.Mutex
	kept []namespace
}

type namespace struct {
	key string
	f   *os.File
}

// userNS returns a user namespace with the map, which the caller closes.
func userNS(m IDMap) (*os.File, error) {
	key := fmt.Sprint(m)
	namespaces.Lock()
	defer namespaces.Unlock()
	for i, n := range namespaces.kept {
		if n.key == key {
			namespaces.kept = append(append(namespaces.kept[:i:i], namespaces.kept[i+1:]...), n)
			return again(n.f)
		}
	}
	f, err := makeUserNS(m)
	if err != nil {
		return nil, err
	}
	dup, err := again(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	if len(namespaces.kept) == keptNamespaces {
		namespaces.kept[0].f.Close()
		namespaces.kept = namespaces.kept[1:]
	}
	namespaces.kept = append(namespaces.kept, namespace{key, f})
	return dup, nil
}

// again opens what f has open once more.
func again(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("fcntl of %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
