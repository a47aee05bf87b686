package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
)

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// withSignals returns a context that ends at the first SIGINT, SIGTERM or
// SIGHUP that we were not started to ignore (nohup(1)), so that the running
// command can put everything back. A second Ctrl-C gives up on that and exits
// at once; a second SIGTERM does not, because our own parent (see demo) passes
// one on after the terminal has sent its SIGINT to both.
//
// That a reader has gone (snapctl demo | head) must not kill us with mounts and
// temporary files about either: the write fails instead, see pipeBroke.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 4)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	brokenPipes := make(chan os.Signal, 1)
	signal.Notify(brokenPipes, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		interrupted := false
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if interrupted && s == os.Interrupt {
					os.Exit(exitInterrupted)
				}
				interrupted = true
				cancel(fmt.Errorf("%w by %s", errInterrupted, signalName(s)))
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(brokenPipes)
		close(done)
		cancel(nil)
	}
}

func signalName(s os.Signal) string {
	switch s {
	case os.Interrupt:
		return "Ctrl-C"
	case syscall.SIGHUP:
		return "SIGHUP"
	default:
		return "SIGTERM"
	}
}

// exitBrokenPipe is what a shell calls the end of a process by SIGPIPE.
const exitBrokenPipe = 128 + int(syscall.SIGPIPE)

// pipeBroke reports whether err says that nobody reads our standard output any
// more, which is nothing to complain about.
func pipeBroke(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Path == os.Stdout.Name() && errors.Is(path, syscall.EPIPE)
}
