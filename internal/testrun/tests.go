package testrun

import (
	"fmt"
	"os"
)

// Tests are those of a package whose tests mount, for its TestMain. Where no
// run is led they get one of their own, so that a later run removes what they
// have left when they were killed.
type Tests struct{ M interface{ Run() int } }

// Run runs the tests.
func (t Tests) Run() int {
	if os.Getenv(RunEnv) != "" {
		return t.M.Run()
	}
	dir, release, err := Local()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun: what these tests make has no place of its own:", err)
		return t.M.Run()
	}
	outer := os.Getenv("TMPDIR")
	testsDir = dir
	if err := os.Setenv("TMPDIR", dir); err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		return 1
	}
	code := t.M.Run()
	_ = os.Setenv("TMPDIR", outer) // the process ends
	if err := release(); err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		return max(code, 1)
	}
	return code
}

// testsDir is the directory for temporary files of all tests of this process. A
// single test may change it for what it tests.
var testsDir = os.TempDir()

// TempDir is the directory for temporary files of all tests of this process.
func TempDir() string { return testsDir }
