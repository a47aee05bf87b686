package engines

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A service is a running `snapctl serve` with a store of its own.
type service struct {
	*process
	binary, dir   string
	root, backend string
	address       string // the socket for containerd and snapctl
	args          []string
}

// newService starts a service on a new store. More flags may be given; a
// "{dir}" in one stands for a directory with a short path of this service.
func newService(t testing.TB, backend string, args ...string) *service {
	t.Helper()
	return newServiceAt(t, filepath.Join(workDir(t, backend), "store"), backend, args...)
}

// newServiceAt is newService for a store at root.
func newServiceAt(t testing.TB, root, backend string, args ...string) *service {
	t.Helper()
	s := &service{binary: snapctl(t), dir: fstest.ShortDir(t), backend: backend, root: root}
	s.address = filepath.Join(s.dir, "layerkeep.sock")
	for _, arg := range args {
		s.args = append(s.args, strings.ReplaceAll(arg, "{dir}", s.dir))
	}
	s.start(t)
	return s
}

func (s *service) start(t testing.TB) {
	t.Helper()
	args := []string{"--root", s.root, "--driver", s.backend, "serve", "--address", s.address}
	// Nothing of ours may stay in the directory for temporary files, and what
	// looks for it after all tests looks in theirs.
	env := []string{"TMPDIR=" + os.TempDir()}
	s.process = start(t, s.dir, env, s.binary, append(args, s.args...)...)
	s.await(t, listens(s.address))
}

// restart ends the service with SIGTERM and starts it anew.
func (s *service) restart(t testing.TB) {
	t.Helper()
	s.stop(t)
	s.start(t)
}

// snapctl runs a command against the service that has to succeed.
func (s *service) snapctl(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, s.binary, append([]string{"--root", s.root}, args...)...)
}

// requireEmpty ends the service, opens its store and requires that no snapshot,
// no directory of one, no mount and no process is left.
func (s *service) requireEmpty(t testing.TB) {
	t.Helper()
	s.requireClean(t, 0)
}

// requireClean ends the service and requires that its store has as many
// snapshots, as many directories, and nothing mounted. Each layer is checked.
func (s *service) requireClean(t testing.TB, snapshots int) {
	t.Helper()
	s.stop(t)
	rows := s.snapshots(t)
	require.Len(t, rows, snapshots, "snapshots left over: %v", rows)
	dirs := s.layerDirs(t)
	require.Len(t, dirs, snapshots, "directories of layers left over: %v for %v", dirs, rows)
	require.Empty(t, fstest.MountsBelow(t, s.root), "mounts left over")
	require.Empty(t, processesOf(t, s.root), "processes left over")
}

// killUnder kills the service under work that makes layers: a while after the
// first layer is there that was not there when before was listed. It returns
// whether the work was still going on.
func (s *service) killUnder(t testing.TB, work <-chan struct{}, before []string, after time.Duration) bool {
	t.Helper()
	ended := func() bool {
		select {
		case <-work:
			return true
		default:
			return false
		}
	}
	eventually(t, readyWithin, func() error {
		isNew := func(dir string) bool { return !slices.Contains(before, dir) }
		if !ended() && !slices.ContainsFunc(s.layerDirs(t), isNew) {
			return errors.New("nothing has been made yet")
		}
		return nil
	})
	select {
	case <-time.After(after): // any moment will do: nothing is waited for
	case <-work:
	}
	defer s.kill()
	return !ended()
}

// layerDirs lists the directories of layers in the store, and what is being
// made or removed.
func (s *service) layerDirs(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.root, s.backend))
	require.NoError(t, err)
	var dirs []string
	for _, e := range entries {
		if e.IsDir() && !slices.Contains([]string{".empty"}, e.Name()) {
			dirs = append(dirs, e.Name())
		}
	}
	return dirs
}

// snapshots lists the names of all snapshots of the store, of all engines.
func (s *service) snapshots(t testing.TB) []string {
	t.Helper()
	var list struct {
		Snapshots []struct{ Key string }
	}
	require.NoError(t, json.Unmarshal([]byte(s.snapctl(t, "--json", "ls")), &list))
	var keys []string
	for _, snapshot := range list.Snapshots {
		keys = append(keys, snapshot.Key)
	}
	return keys
}
