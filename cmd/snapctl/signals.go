package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// withSignals returns a context that ends at the first SIGINT or SIGTERM, so
// that the running command can put everything back. A second Ctrl-C gives up on
// that and exits at once; a second SIGTERM does not, because our own parent
// (see demo) passes one on after the terminal has sent its SIGINT to both.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		interrupted := false
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if interrupted && s == os.Interrupt {
					os.Exit(exitFailed)
				}
				interrupted = true
				cancel(fmt.Errorf("%w by %s", errInterrupted, signalName(s)))
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

func signalName(s os.Signal) string {
	if s == os.Interrupt {
		return "Ctrl-C"
	}
	return "SIGTERM"
}
