// Command snapctl keeps container image layers on disk: it imports images,
// mounts their layers by hand, shows and packs what was changed, commits and
// exports, without a daemon. "snapctl help" lists the commands and the exit
// codes; "snapctl demo" shows all of it on a small image of its own.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/layerkeep/layerkeep/internal/privilege"
)

func main() { os.Exit(mainCode()) }

// mainCode runs the command line of this process and returns its exit code, for
// main and for the test scripts.
func mainCode() int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	s := streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	if err := privilege.GiveUp(); err != nil {
		_, _ = fmt.Fprintln(s.Err, faultLine(err)) // nothing is left to be done about an error of this
		return exitFailed
	}
	return run(ctx, s, os.Args[1:])
}
