package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A served is a 'snapctl serve' in a process of its own.
type served struct {
	cmd     *exec.Cmd
	dir     string
	address string
	mu      sync.Mutex
	log     bytes.Buffer
}

// serveFor starts a service of the store in root, and waits until it answers.
func serveFor(root, driverName string, more ...string) (*served, error) {
	// The path of a socket can have 107 bytes.
	dir, err := os.MkdirTemp("", "snapctl-test-")
	if err != nil {
		return nil, err
	}
	s := &served{dir: dir, address: filepath.Join(dir, "sock")}
	args := []string{"--root", root, "serve", "--address", s.address}
	args = append(args, more...)
	if driverName != "" {
		args = append(args, "--driver", driverName)
	}
	s.cmd = snapctlProcess(args...)
	s.cmd.Stderr = s
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.wait(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", err, s.said()), s.kill())
	}
	return s, nil
}

// snapctlProcess is snapctl in a process of its own, see TestMain. Its
// environment says SOURCE_DATE_EPOCH, which must not count for the clients of a
// service.
func snapctlProcess(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "snapctl"
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1", rootEnv+"=", driverEnv+"=", addressEnv+"=", additionalEnv+"=")
	return cmd
}

// Write keeps what the service logs.
func (s *served) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *served) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (s *served) wait() error {
	var err error
	for deadline := time.Now().Add(fstest.Patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var c *client.Client
		if c, err = client.Dial(context.Background(), s.address); err == nil {
			return c.Close()
		}
	}
	return err
}

// stop ends the service as its users would, and returns what is wrong with
// that.
func (s *served) stop() error {
	err := s.cmd.Process.Signal(syscall.SIGTERM)
	if err == nil {
		err = s.cmd.Wait()
	}
	if err != nil {
		err = fmt.Errorf("snapctl serve: %w: %s", err, s.said())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// kill ends the service without giving it time for anything.
func (s *served) kill() error {
	err := s.cmd.Process.Kill()
	if err == nil {
		_ = s.cmd.Wait() // it says that it was killed
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// serveStore gives the store of demoStore to a service, which commands find.
func serveStore(t *testing.T, dir string) *served {
	t.Helper()
	s, err := serveFor(filepath.Join(dir, "store"), "")
	require.NoError(t, err)
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			require.NoError(t, s.stop())
		}
		require.NoError(t, os.RemoveAll(s.dir)) // of a service that a test has ended by itself
	})
	return s
}
