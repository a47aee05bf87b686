package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// serveSignals gives the signals their meaning for a service: SIGTERM and
// SIGINT end ctx, the second of them the process, and SIGHUP asks for a reload.
func serveSignals(parent context.Context) (ctx context.Context, reload <-chan struct{}, stop func()) {
	// Their meaning for other commands is no longer wanted: see withSignals.
	signal.Reset(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	reloads, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if s == syscall.SIGHUP {
					select {
					case reloads <- struct{}{}:
					default: // one is pending already
					}
					continue
				}
				if ctx.Err() != nil {
					os.Exit(exitFailed)
				}
				cancel()
			}
		}
	}()
	return ctx, reloads, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
