package testrun

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// local is the run of a process that is not part of one.
var local struct {
	sync.Mutex
	run   *Run
	users int
	made  int
}

// Local returns a new directory in a run of this process alone, for tests that
// somebody runs without scripts/test. The first one cleans up after dead runs,
// the last release ends the run.
func Local() (dir string, release func() error, err error) {
	local.Lock()
	defer local.Unlock()
	if local.run == nil {
		if _, err := Sweep(); err != nil {
			fmt.Fprintln(os.Stderr, "testrun:", err) // this run can go on
		}
		if local.run, err = Start(); err != nil {
			return "", nil, err
		}
	}
	local.made++
	dir = filepath.Join(local.run.Dir, fmt.Sprint(local.made))
	if err := makeTemp(dir); err != nil {
		return "", nil, err
	}
	local.users++
	return dir, func() error { return releaseLocal(dir) }, nil
}

func releaseLocal(dir string) error {
	local.Lock()
	defer local.Unlock()
	err := Clean(dir)
	if err == nil {
		err = RemoveAll(dir)
	}
	if local.users--; local.users == 0 {
		err = errors.Join(err, local.run.End())
		local.run = nil
	}
	return err
}
