package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/internal/service"
	"github.com/layerkeep/layerkeep/internal/service/config"
)

const serveLong = `Serve the store to container engines and to other snapctl commands. The service offers:

  --address      a unix socket for containerd, BuildKit and Docker, as a snapshotter and
                 differ; also for other snapctl commands, which use the store through
                 the service while it has the store open
  --graphdriver  a graph driver plugin for Docker up to version 24

Settings come from flags, the environment, a file, and defaults, in this order. The file
is --config, or ` + config.DefaultPath + ` if it exists. Each flag is also a key
of the file; 'snapctl serve --print-config' prints a complete file. The default log
level is info.

Each engine sees only its own snapshots, because an engine removes snapshots that it does
not know. A second engine therefore needs its own socket, --engine NAME=PATH.

Signals:
  SIGTERM, SIGINT  stop: accept no new calls, finish running calls, and cancel them
                   after --stop-timeout; a second signal ends the service at once
  SIGHUP           open the log file again and read the settings file again: a new log
                   level takes effect, other changes need a restart

With systemd, the sockets may come from a socket unit. The service finds the descriptors
by name (address, engine-NAME, graphdriver-NAME, metrics-address, pprof-address); other
names are used in the order of --print-config. With Type=notify systemd learns when the
service is ready.`

// serveOptions are what the flags of serve say.
type serveOptions struct {
	file  string
	print bool
	flags []*config.Flag
}

func newServeCommand(a *app) *cobra.Command {
	opts := serveOptions{flags: config.Flags()}
	cmd := &cobra.Command{
		Use:   "serve [--address SOCKET] [--config FILE]",
		Short: "Serve the store to engines",
		Long:  serveLong,
		Args:  exactArgs(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runServe(cmd, a, opts) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.file, "config", "", "read settings from `FILE` (default "+config.DefaultPath+", if it exists)")
	flags.BoolVar(&opts.print, "print-config", false, "print the settings as a settings file, and exit")
	for _, f := range opts.flags {
		if _, global := globalSetting(f.Field.Key); !global {
			flags.Var(f, f.Field.Key, f.Field.Help)
			if f.Type() == "bool" {
				flags.Lookup(f.Field.Key).NoOptDefVal = "true"
			}
		}
	}
	completeFlag(cmd, "log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// globalSetting reports whether a setting of the service is a flag of every
// command, and which variable of the environment stands for it, if any.
func globalSetting(key string) (env string, global bool) {
	switch key {
	case "root":
		return rootEnv, true
	case "driver":
		return driverEnv, true
	case "additional":
		return additionalEnv, true
	case "log-level":
		return "", true
	default:
		return "", false
	}
}

// settings reads the file and puts flags and environment above it.
func (o serveOptions) settings(cmd *cobra.Command) (config.Config, error) {
	c := config.Default()
	var err error
	if o.file != "" {
		err = c.Load(o.file)
	} else {
		_, err = c.LoadDefault()
	}
	if err != nil {
		return c, advise(as(errInvalid, err), "'snapctl serve --print-config' lists all keys")
	}
	if err := c.Override(o.flags); err != nil {
		return c, usagef("%w", err)
	}
	for _, f := range c.Fields() {
		env, global := globalSetting(f.Key)
		flag := cmd.Flags().Lookup(f.Key)
		if !global || flag == nil || !flag.Changed && (env == "" || os.Getenv(env) == "") {
			continue
		}
		if f.Key == "additional" { // given once for each
			c.Additional, _ = cmd.Flags().GetStringArray(f.Key)
			continue
		}
		if err := f.Value.Set(flag.Value.String()); err != nil {
			return c, usagef("%w", err)
		}
	}
	if err := c.Check(); err != nil {
		return c, as(errUsage, err)
	}
	return c, nil
}

func runServe(cmd *cobra.Command, a *app, opts serveOptions) (err error) {
	if err := a.refuseReadOnly("serve", "engines write to the store that they are served"); err != nil {
		return err
	}
	c, err := opts.settings(cmd)
	if err != nil {
		return err
	}
	if opts.print {
		return c.Write(a.Out)
	}
	logs, err := service.OpenLogs(c, a.Err)
	if err != nil {
		return doing(err, "opening the log")
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	ctx, reload, stop := serveSignals(cmd.Context())
	defer stop()
	err = service.Run(ctx, service.RunOptions{
		Options: service.Options{Config: c, Version: version, Commit: buildCommit()},
		Logs:    logs, Reload: reload,
		Read: func() (config.Config, error) { return opts.settings(cmd) },
	})
	if errors.Is(err, service.ErrAddressInUse) {
		err = advise(as(errState, err), "choose another socket with --address, or stop the service that uses this one")
	}
	return err
}
