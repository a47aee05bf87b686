package subvol_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// The kernel's thread that commits transactions can miss that it was woken, and
// then sleeps on for half a minute. Commits side by side, and one right after
// the other, show it.
func TestNoCommitWaitsForTheKernelsThreadToWakeByItself(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: scratch file systems need it")
	}
	dir := fstest.Scratch(t, fstest.Btrfs)
	f, err := os.Open(dir)
	require.NoError(t, err)
	defer f.Close()
	lasting := 5 * time.Second
	if testing.Short() {
		lasting = time.Second
	}
	// In bursts: one that was missed is not helped by those that follow.
	var slowest, commits atomic.Int64
	for begin, n := time.Now(), 0; time.Since(begin) < lasting; n++ {
		var burst sync.WaitGroup
		for i := range 1 + n%4 {
			burst.Go(func() {
				if err := os.Mkdir(filepath.Join(dir, fmt.Sprint(n, "-", i)), 0o700); err != nil {
					t.Error(err)
					return
				}
				start := time.Now()
				if err := subvol.Commit(f); err != nil {
					t.Error(err)
				}
				commits.Add(1)
				if took := int64(time.Since(start)); took > slowest.Load() {
					slowest.Store(took)
				}
			})
		}
		burst.Wait()
	}
	t.Logf("%d commits, the slowest took %v", commits.Load(), time.Duration(slowest.Load()))
	require.Less(t, time.Duration(slowest.Load()), 20*time.Second, "it waited for the kernel's own next commit")
}
