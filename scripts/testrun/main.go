// Testrun runs the tests so that nothing of them stays on the machine, also
// when they are killed; package internal/testrun says how. It is what
// scripts/test runs itself and every test binary through.
//
//	testrun run [-busy N] [-remove DIR] -- COMMAND
//	                                    clean up after dead runs, then run COMMAND
//	testrun watch -- BINARY ARGUMENTS   run a test binary in such a run
//	testrun sweep                       only clean up after dead runs
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/layerkeep/layerkeep/internal/testrun"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	busy := flags.Int("busy", 0, "compute on so many threads beside the command")
	remove := flags.String("remove", "", "a directory to remove at the end, also when the command cannot be run")
	silence := flags.Duration("silence", 10*time.Minute, "how long a test binary may say nothing, on a quiet machine")
	total := flags.Duration("total", time.Hour, "how long a test binary may take, on a quiet machine")
	_ = flags.Parse(os.Args[2:]) // it exits on an error
	switch args := flags.Args(); {
	case os.Args[1] == "sweep" && len(args) == 0:
		os.Exit(sweep())
	case os.Args[1] == "run" && len(args) > 0:
		os.Exit(lead(args, *busy, *remove))
	case os.Args[1] == "watch" && len(args) > 0:
		os.Exit(testrun.Watch(args, testrun.Limits{Silence: *silence, Total: *total}))
	}
	usage()
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: testrun run [-busy N] [-remove DIR] -- COMMAND | watch -- BINARY ARGUMENTS | sweep")
	os.Exit(2)
}

// lead runs a command as a test run and then removes a directory, "" for none.
// It is where this program is before the run has a place for it.
func lead(args []string, busy int, remove string) int {
	code := testrun.Lead(args, busy)
	if remove == "" {
		return code
	}
	if err := os.RemoveAll(remove); err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		return max(code, 1)
	}
	return code
}

func sweep() int {
	removed, err := testrun.Sweep()
	for _, dir := range removed {
		fmt.Println("removed what was left in", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		return 1
	}
	return 0
}
