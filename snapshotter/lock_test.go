package snapshotter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/testrun"
)

// A test may start this test binary as a process of its own. When one of these
// variables is set, the process works on the store that it names and runs no
// tests.
const (
	holderEnv = "LAYERKEEP_TEST_HOLD_STORE"
	churnEnv  = "LAYERKEEP_TEST_CHURN_STORE"
)

func TestMain(m *testing.M) {
	var err error
	if root := os.Getenv(holderEnv); root != "" {
		err = holdStore(root)
	} else if root := os.Getenv(churnEnv); root != "" {
		err = churn(root, os.Getenv(churnEnv+"_DRIVER"))
	} else {
		os.Exit(testrun.Tests{M: m}.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// holdStore opens the store, prints a line, and closes the store at the end of
// its input.
func holdStore(root string) error {
	s, err := Open(context.Background(), root, Options{open: newFakeDisk().open})
	if err != nil {
		return err
	}
	fmt.Println("holding")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Close())
}

// hold opens the store in another process until release is called or the test
// ends.
func hold(t *testing.T, root string) (process *os.Process, release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), holderEnv+"="+root)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	release = func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
	t.Cleanup(release)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "holding\n", line)
	return cmd.Process, release
}

func TestAStoreHeldByAnotherProcessIsLockedAndItsPidNamed(t *testing.T) {
	root := memDir(t)
	holder, _ := hold(t, root)

	_, err := Open(t.Context(), root, Options{open: newFakeDisk().open, LockTimeout: -1})
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	require.ErrorContains(t, err, "process "+strconv.Itoa(holder.Pid))
}

func TestWaitingForAStoreEndsWithTheTimeoutOrTheContext(t *testing.T) {
	root := memDir(t)
	hold(t, root)

	_, err := Open(t.Context(), root, Options{open: newFakeDisk().open, LockTimeout: 20 * time.Millisecond})
	require.ErrorIs(t, err, ErrLocked)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, root, Options{open: newFakeDisk().open, LockTimeout: time.Hour})
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAStoreCanBeOpenedOnceItsHolderIsGone(t *testing.T) {
	for name, end := range map[string]func(*os.Process, func()){
		"closed": func(_ *os.Process, release func()) { release() },
		"killed": func(p *os.Process, _ func()) { _ = p.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			root := memDir(t)
			process, release := hold(t, root)
			opened := make(chan error)
			go func() {
				s, err := Open(t.Context(), root, Options{open: newFakeDisk().open, LockTimeout: time.Minute})
				if err == nil {
					err = s.Close()
				}
				opened <- err
			}()
			end(process, release)
			require.NoError(t, <-opened)
		})
	}
}

func TestAStoreIsOpenOnceInOneProcessToo(t *testing.T) {
	disk, root := newFakeDisk(), memDir(t)
	first, err := Open(t.Context(), root, Options{open: disk.open})
	require.NoError(t, err)
	_, err = Open(t.Context(), root, Options{open: disk.open, LockTimeout: -1})
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, first.Close())
	openAt(t, root, Options{open: disk.open, LockTimeout: -1})
}
