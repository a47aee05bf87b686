package robustness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

var built struct {
	sync.Once
	dir string
	err error
}

// snapctl builds the command as it is shipped, or is that in
// $LAYERKEEP_SNAPCTL.
func snapctl(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("LAYERKEEP_SNAPCTL"); path != "" {
		return path
	}
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "robustness-"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(built.dir, "snapctl"), "../../cmd/snapctl")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		var out []byte
		if out, built.err = cmd.CombinedOutput(); built.err != nil {
			built.err = fmt.Errorf("build snapctl: %w: %s", built.err, out)
		}
	})
	require.NoError(t, built.err)
	return filepath.Join(built.dir, "snapctl")
}

func removeBuilt() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // it is below the directory of the run, too
	}
}

// A store is a directory that snapctl works on.
type store struct {
	snapctl, root, driver string
}

func (s store) command(args ...string) *exec.Cmd {
	return exec.Command(s.snapctl, append([]string{"--root", s.root, "--driver", s.driver}, args...)...)
}

// try runs a command; the error has what it said.
func (s store) try(args ...string) (string, error) {
	out, said, err := s.both(args...)
	if err != nil {
		return out, fmt.Errorf("snapctl %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return out, nil
}

// both runs a command and returns its standard output and its standard error.
func (s store) both(args ...string) (out, said string, err error) {
	var stdout, stderr bytes.Buffer
	cmd := s.command(args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// object runs a command with --json and reads what it prints.
func (s store) object(v any, args ...string) error {
	out, err := s.try(append([]string{"--json"}, args...)...)
	if err == nil {
		err = json.Unmarshal([]byte(out), v)
	}
	return err
}

// diff returns the digest of a snapshot's diff.
func (s store) diff(key string) (string, error) {
	var written struct{ DiffID string }
	err := s.object(&written, "diff", "-o", "/dev/null", key)
	return written.DiffID, err
}

// A service is a running snapctl serve.
type service struct {
	cmd     *exec.Cmd
	said    bytes.Buffer
	ended   chan struct{}
	address string
	*client.Client
}

// serve starts the service of a store and connects to it. dir has a short path.
func (s store) serve(t testing.TB, dir string) (*service, error) {
	v := &service{address: filepath.Join(dir, "socket"), ended: make(chan struct{})}
	v.cmd = s.command("serve", "--address", v.address)
	v.cmd.Stdout, v.cmd.Stderr = &v.said, &v.said
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(v.ended)
		_ = v.cmd.Wait() // its state says how it ended
	}()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		c, err := client.Dial(t.Context(), v.address)
		if err == nil {
			v.Client = c
			return v, nil
		}
		select {
		case <-v.ended:
			return nil, fmt.Errorf("snapctl serve ended with %v: %s", v.cmd.ProcessState, v.said.String())
		default:
		}
		if time.Since(start) > fstest.Patience {
			return nil, errors.Join(err, v.kill())
		}
	}
}

// stop ends the service with SIGTERM, as an administrator does.
func (v *service) stop() error {
	if err := errors.Join(v.Client.Close(), v.cmd.Process.Signal(syscall.SIGTERM)); err != nil {
		return err
	}
	select {
	case <-v.ended:
	case <-time.After(fstest.Patience):
		return errors.Join(errors.New("snapctl serve did not end"), v.kill())
	}
	if !v.cmd.ProcessState.Success() {
		return fmt.Errorf("snapctl serve ended with %v: %s", v.cmd.ProcessState, v.said.String())
	}
	return nil
}

func (v *service) kill() error {
	err := v.cmd.Process.Kill()
	<-v.ended
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
