package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// canMount reports whether this process may mount: it has CAP_SYS_ADMIN. That
// it is root says nothing in a container.
func canMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return os.Geteuid() == 0 && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// ownMounts keeps what is mounted from now on inside this mount namespace. It
// fails where the machine lets one make a user namespace and mount nothing in
// it.
func ownMounts() error {
	if err := openToOurselves(); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return noDemo(fmt.Errorf("mounting in a user namespace: %w", err))
	}
	return nil
}

// openToOurselves makes /proc/self belong to us. It does not when we may run
// but not read our own binary (PR_SET_DUMPABLE in prctl(2)), and then nobody
// could write the maps of a user namespace, or start this program again.
func openToOurselves() error {
	return doing(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0), "preparing a user namespace")
}

func noDemo(err error) error {
	return advise(
		fmt.Errorf("%w: it needs root or a user namespace, which this machine forbids: %w", errNoDemo, err),
		"run it as root, or allow user namespaces: see the sysctls user.max_user_namespaces, "+
			"kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns",
	)
}

// stopPatience is how long a demo that was told to stop may clean up.
const stopPatience = 20 * time.Second

// demoInNamespace runs the demo in a copy of this process that is root in a new
// user namespace, with mounts of its own.
func demoInNamespace(ctx context.Context, a *app, opts demoOptions) error {
	if err := openToOurselves(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", namespaceArgs(a, opts)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = a.Out, a.Err
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		// Should we be killed, the copy is told to stop and clean up.
		Pdeathsig: syscall.SIGTERM,
	}
	// The kernel sends that signal when the thread ends that started the copy.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return noDemo(err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return childExit{exit.ExitCode()}
	}
	return doing(err, "running the demo in a user namespace")
}

func namespaceArgs(a *app, opts demoOptions) []string {
	args := []string{"demo", "--in-namespace", "--dir", opts.dir, "--log-level", a.global.logLevel}
	if a.global.driver != "" {
		args = append(args, "--driver", a.global.driver)
	}
	if a.global.json {
		args = append(args, "--json")
	}
	if a.global.quiet {
		args = append(args, "--quiet")
	}
	return args
}
