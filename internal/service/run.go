package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/service/config"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// RunOptions tune [Run].
type RunOptions struct {
	Options
	// Logs is the log whose file and level a reload changes; nil: the Logger of
	// the Options, which stays as it is.
	Logs *Logs
	// Reload asks for a reload with every value; nil: never.
	Reload <-chan struct{}
	// Read reads the configuration again for a reload.
	Read func() (config.Config, error)
}

// Run opens the store that the configuration names, serves it until ctx ends
// and closes it. It tells systemd when the service is ready, reloads or stops,
// and uses the sockets that systemd has opened. Run returns the errors of
// [snapshotter.Open], [Listen] and [Server.ServeAll]. It returns
// [snapshotter.ErrReadOnly] for a read-only store, which engines cannot use.
func Run(ctx context.Context, opts RunOptions) (err error) {
	if opts.Logs != nil {
		opts.Logger = opts.Logs.Logger
	}
	if opts.Metrics == nil {
		opts.Metrics = NewMetrics(opts.Options)
	}
	activation, err := TakeActivation()
	if err != nil {
		return err
	}
	c := opts.Config
	store, err := snapshotter.Open(ctx, c.Root, snapshotter.Options{
		Driver: c.Driver, Additional: c.Additional, Logger: opts.Logger, Observer: opts.Metrics.Observe, Address: activation.MainAddress(c),
		DriverOptions: driver.Options{Limits: c.Limit.Limits(), Metacopy: c.Metacopy},
	})
	if err != nil {
		return errors.Join(err, activation.Close())
	}
	defer func() {
		if closeErr := store.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("close the store %s: %w", c.Root, closeErr))
		}
	}()
	if store.ReadOnly() {
		return errors.Join(fmt.Errorf("serve the store %s: %w", c.Root, snapshotter.ErrReadOnly), activation.Close())
	}
	server, err := New(store, opts.Options) //nolint:contextcheck // it lives longer than a call
	if err != nil {
		return errors.Join(err, activation.Close())
	}
	sockets, err := OpenSockets(c, activation, opts.Logger) //nolint:contextcheck // to listen takes no time
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go server.reloads(ctx, opts)
	return server.ServeAll(ctx, sockets)
}

// reloads carries out reloads until ctx ends.
func (s *Server) reloads(ctx context.Context, opts RunOptions) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-opts.Reload:
			s.notify(ctx, notifyReloading())
			s.reload(ctx, opts)
			s.notify(ctx, notifyReady)
		}
	}
}

// reload opens the log file anew and takes over what can change.
func (s *Server) reload(ctx context.Context, opts RunOptions) {
	if opts.Logs != nil {
		if err := opts.Logs.Reopen(); err != nil {
			s.log.ErrorContext(ctx, "the log goes on in the old file", "error", err)
		}
	}
	if opts.Read == nil {
		return
	}
	c, err := opts.Read()
	if err != nil {
		s.log.ErrorContext(ctx, "the configuration stays as it was", "error", err)
		return
	}
	taken, restart := opts.Config.Changes(&c)
	if opts.Logs != nil {
		opts.Logs.SetLevel(c.LogLevel)
	}
	s.log.InfoContext(ctx, "reloaded", "taken", taken)
	if len(restart) > 0 {
		s.log.WarnContext(ctx, "these settings take effect with a restart", "settings", restart)
	}
}
