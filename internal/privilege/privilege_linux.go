package privilege

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// needed is what work on layers takes.
var needed = []cap.Value{
	// Files of any owner, with their modes, flags and attributes, and device nodes.
	cap.CHOWN, cap.DAC_OVERRIDE, cap.DAC_READ_SEARCH, cap.FOWNER, cap.FSETID, cap.LINUX_IMMUTABLE, cap.MKNOD, cap.SETFCAP,
	cap.MAC_ADMIN, cap.MAC_OVERRIDE, // labels of a policy that this machine does not have, or that are not ours
	// Mounts, attributes in "trusted.", quotas and subvolumes.
	cap.SYS_ADMIN, cap.SYS_RESOURCE,
	// The mounts of other processes: to see them, and to enter their namespaces.
	cap.SYS_PTRACE, cap.SYS_CHROOT,
	cap.LEASE, // whether a file of another owner is open for writing
	// The user namespace of a mount with mapped IDs.
	cap.SETUID, cap.SETGID,
	cap.NET_BIND_SERVICE, // metrics at a port below 1024
}

// GiveUp takes from all threads of this process, and so from the programs that
// it starts, the capabilities that work on layers does not take, and sets
// no_new_privs: no program gives more than the process has. What a sandbox does
// not let it give up stays.
func GiveUp() error {
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil && !sys.Refused(err) {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	others := notNeeded()
	// Taking them out of the bounding set is a right of its own, which goes with
	// the rest.
	if err := cap.DropBound(others...); err != nil && !sys.Refused(err) {
		return fmt.Errorf("give up capabilities for programs: %w", err)
	}
	set, err := cap.GetPID(0)
	switch {
	case sys.Refused(err):
		return nil // nothing can be given up where nobody may ask what there is
	case err != nil:
		return fmt.Errorf("look at capabilities: %w", err)
	}
	for _, flag := range []cap.Flag{cap.Effective, cap.Permitted, cap.Inheritable} {
		if err := set.SetFlag(flag, false, others...); err != nil {
			return fmt.Errorf("give up capabilities: %w", err)
		}
	}
	if err := set.SetProc(); err != nil && !sys.Refused(err) {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return nil
}

// notNeeded returns the capabilities of this kernel that are not needed.
func notNeeded() (others []cap.Value) {
	for v := range cap.MaxBits() {
		if !slices.Contains(needed, v) {
			others = append(others, v)
		}
	}
	return others
}
