package testrun

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Sweep removes what dead runs of this user have left: it ends their processes,
// unmounts, detaches loop devices and removes directories. It returns the
// directories of the runs that it has removed.
func Sweep() (removed []string, err error) {
	for _, base := range bases() {
		gone, e := sweepBase(base)
		removed, err = append(removed, gone...), errors.Join(err, e)
	}
	return removed, errors.Join(err, sweepMemory())
}

func sweepBase(base string) (removed []string, err error) {
	if !ours(base) {
		return nil, nil // not there, or somebody else's
	}
	names, err := os.ReadDir(base)
	for _, n := range names {
		dir := filepath.Join(base, n.Name())
		gone, e := sweep(dir)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("clean up after the test run %s: %w", dir, e))
		}
		if gone {
			removed = append(removed, dir)
		}
	}
	return removed, err
}

// sweep removes a run if it is dead.
func sweep(dir string) (bool, error) {
	if !ours(dir) {
		return false, nil
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return sweepUnborn(dir)
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if err := take(lock); errors.Is(err, errTaken) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if err := endProcesses(dir); err != nil {
		return false, err
	}
	return true, remove(dir)
}

// sweepUnborn removes a directory whose maker died before it had a lock.
func sweepUnborn(dir string) (bool, error) {
	if !old(dir) {
		return false, nil
	}
	return true, clear(dir, lockName)
}

func old(dir string) bool {
	info, err := os.Lstat(dir)
	return err == nil && time.Since(info.ModTime()) > unborn
}

// sweepMemory removes directories in memory whose run has gone without them.
func sweepMemory() error {
	base := memoryBase()
	if !ours(base) {
		return nil
	}
	names, err := os.ReadDir(base)
	for _, n := range names {
		dir := filepath.Join(base, n.Name())
		run, e := os.Readlink(filepath.Join(dir, linkName))
		switch {
		case errors.Is(e, fs.ErrNotExist):
			if !ours(dir) || !old(dir) {
				continue
			}
		case e != nil:
			continue
		default:
			if _, e := os.Lstat(run); !errors.Is(e, fs.ErrNotExist) {
				continue
			}
		}
		if e := clear(dir, linkName); e != nil {
			err = errors.Join(err, fmt.Errorf("clean up after a test run in %s: %w", dir, e))
		}
	}
	return err
}
