package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

const namespaceEnv = "SNAPCTL_TEST_NAMESPACE"

// enterNamespace runs this test binary again as root of a new user namespace
// and exits as it did. It returns where that is not needed or not possible.
func enterNamespace() {
	if canMount() || os.Getenv(namespaceEnv) != "" {
		return
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "no user namespace for the tests:", err)
		return
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1))
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// isHostRoot reports whether we are root, and of the machine: the initial user
// namespace maps all there is.
func isHostRoot() bool {
	uids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && canMount() && strings.Join(strings.Fields(string(uids)), " ") == "0 0 4294967295"
}
