// Command snapctl keeps container image layers on disk: it imports images,
// mounts their layers by hand, shows and packs what was changed, commits and
// exports, without a daemon. "snapctl help" lists the commands and the exit
// codes; "snapctl demo" shows all of it on a small image of its own.
package main

import (
	"context"
	"os"
)

func main() { os.Exit(mainCode()) }

// mainCode runs the command line of this process and returns its exit code, for
// main and for the test scripts.
func mainCode() int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	s := streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	return run(ctx, s, os.Args[1:])
}
