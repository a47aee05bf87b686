//go:build !linux

package testrun

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Limits say when a test binary counts as hanging; on Linux only.
type Limits struct{ Silence, Total time.Duration }

// Sweep does nothing: only on Linux do tests mount.
func Sweep() ([]string, error) { return nil, nil }

// Lead runs a command.
func Lead(args []string, _ int) int { return run(args) }

// Watch runs a command.
func Watch(args []string, _ Limits) int { return run(args) }

func run(args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return max(ended.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		return 1
	}
	return 0
}

// Local makes a temporary directory.
func Local() (dir string, release func() error, err error) {
	dir, err = os.MkdirTemp("", "lk-")
	return dir, func() error { return RemoveAll(dir) }, err
}

func makeWritable(string) error { return nil }
