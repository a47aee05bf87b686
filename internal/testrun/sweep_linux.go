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
	_, e := sweepBase(memoryBase()) // parts of runs, which need no word
	return removed, errors.Join(err, e)
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

// sweep removes a directory of a run if the run is dead. That in memory has its
// own lock, because the run's directory may be one that this process does not
// see.
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
	run := dir
	if target, err := os.Readlink(filepath.Join(dir, linkName)); err == nil {
		run = target
	}
	if err := endProcesses(run); err != nil {
		return false, err
	}
	return true, clear(dir)
}

// sweepUnborn removes a directory whose maker died before it had a lock.
func sweepUnborn(dir string) (bool, error) {
	if !old(dir) {
		return false, nil
	}
	return true, clear(dir)
}

func old(dir string) bool {
	info, err := os.Lstat(dir)
	return err == nil && time.Since(info.ModTime()) > unborn
}
