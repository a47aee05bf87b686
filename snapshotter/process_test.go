package snapshotter

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// kills is the number of processes that TestAKilledProcess kills for each
// backend, each a little later in its work.
const kills = 8

func TestAKilledProcessLeavesEveryCommittedSnapshotWhole(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			root := freshDir(t, alltest.Place(t, t.TempDir(), name))
			for kill := range kills {
				if testing.Short() && kill%4 != 1 {
					continue
				}
				killAfter(t, root, name, kill)
				s := openAt(t, root, Options{Driver: name})
				requireSound(t, s)
				for key, row := range rowsOf(t, s) {
					if row.Kind == meta.Committed {
						require.Contains(t, diffOf(t, s, key), "content of "+key)
					}
				}
				require.NoError(t, s.Close())
			}
		})
	}
}

// killAfter runs churn in a process of its own, and kills it after this number
// of calls, in the middle of the next work.
func killAfter(t *testing.T, root, driverName string, calls int) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), churnEnv+"="+root, churnEnv+"_DRIVER="+driverName)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for i := 0; i <= calls; i++ {
		require.True(t, lines.Scan(), "the process has ended by itself")
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

// churn makes, commits and removes snapshots, two at a time, until the process
// is killed. It prints a line after every call.
func churn(root, driverName string) error {
	ctx := context.Background()
	s, err := Open(ctx, root, Options{Driver: driverName})
	if err != nil {
		return err
	}
	run := os.Getpid()
	failed := make(chan error)
	for worker := range 2 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", run, worker, i)
				if err := churnOne(ctx, s, name, i%2 == 0); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func churnOne(ctx context.Context, s *Snapshotter, name string, remove bool) error {
	key := name + " key"
	steps := []func() error{
		func() error { return s.Create(ctx, key, "") },
		func() error {
			layer := strings.NewReader(layerTar("content of " + name))
			_, err := s.Apply(ctx, key, layer, driver.ApplyOptions{})
			return err
		},
		func() error { return s.Commit(ctx, name, key) },
		func() error { _, err := s.View(ctx, name+" view", name); return err },
		func() error { return s.Remove(ctx, name+" view") },
	}
	if remove {
		steps = append(steps, func() error { return s.Remove(ctx, name) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}
