package confine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// A sandbox is what the threads of one work can do.
type sandbox struct {
	rules int // a ruleset of Landlock, -1 without it
}

// What threads may do with files below directories, by the version of Landlock that knows
// it. The first version forbids every rename between directories, so it is not used.
const (
	readRights   = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	rightsOf2    = unix.LANDLOCK_ACCESS_FS_REFER<<1 - 1
	execute      = unix.LANDLOCK_ACCESS_FS_EXECUTE
	firstVersion = 2
	versionTrunc = 3
	versionNet   = 4
	versionDev   = 5
	versionScope = 6
)

// kept are the capabilities that work on layers needs: owners, modes and attributes of
// files, files of others, nodes, flags of files, reserved blocks, and the attributes and
// ioctls that take CAP_SYS_ADMIN. Labels of security modules may take the two of MAC.
const kept uint64 = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_FOWNER |
	1<<unix.CAP_FSETID | 1<<unix.CAP_MKNOD | 1<<unix.CAP_SETFCAP | 1<<unix.CAP_LINUX_IMMUTABLE | 1<<unix.CAP_SYS_RESOURCE |
	1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_MAC_ADMIN | 1<<unix.CAP_MAC_OVERRIDE

func newSandbox(dirs Dirs) (s *sandbox, err error) {
	s = &sandbox{rules: -1}
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < firstVersion {
		return s, nil
	}
	handled := uint64(rightsOf2)
	attr := unix.LandlockRulesetAttr{}
	if version >= versionTrunc {
		handled |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version >= versionNet {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	attr.Handled_access_fs = handled
	if version >= versionDev {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if version >= versionScope {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("landlock_create_ruleset", errno)
	}
	s.rules = int(fd)
	for _, list := range []struct {
		dirs   []string
		rights uint64
	}{{dirs.Change, handled &^ execute}, {dirs.Read, readRights}} {
		for _, dir := range list.dirs {
			if err := s.allow(dir, list.rights); err != nil {
				s.close()
				return nil, err
			}
		}
	}
	return s, nil
}

func (s *sandbox) allow(dir string, rights uint64) error {
	fd, err := sys.Openat(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(s.rules), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	runtime.KeepAlive(&rule)
	if errno != 0 {
		return &os.PathError{Op: "landlock_add_rule", Path: dir, Err: errno}
	}
	return nil
}

func (s *sandbox) close() {
	if s.rules >= 0 {
		unix.Close(s.rules)
	}
}

// start calls fn on a confined thread, which ends with it.
func (s *sandbox) start(fn func(error)) {
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			fn(s.enter())
			return
		}
		// The first thread cannot end, and is what others see of the process. While this
		// goroutine holds it, the next one gets another.
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(locked)
			fn(s.enter())
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}

// enter confines the calling thread.
func (s *sandbox) enter() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_NO_NEW_PRIVS)", err)
	}
	if s.rules >= 0 {
		_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(s.rules), 0, 0)
		// A thread can have sixteen such limits; one that has them all is confined enough.
		if errno != 0 && !errors.Is(errno, unix.E2BIG) {
			return os.NewSyscallError("landlock_restrict_self", errno)
		}
	}
	return dropCapabilities()
}

func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	for i := range data {
		keep := uint32(kept >> (32 * i))
		data[i].Effective &= keep
		data[i].Permitted &= keep
		data[i].Inheritable &= keep
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}
