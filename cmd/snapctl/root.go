package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/service/config"
)

const (
	defaultRoot = "/var/lib/layerkeep"
	addressEnv  = "SNAPCTL_ADDRESS"
	rootEnv     = "SNAPCTL_ROOT"
	driverEnv   = "SNAPCTL_DRIVER"
	// additionalEnv lists directories as PATH does.
	additionalEnv = "SNAPCTL_ADDITIONAL"

	// lockTimeout is how long a command waits for another one on the same store.
	lockTimeout = 5 * time.Second
)

// An app is what all commands of one command line share.
type app struct {
	streams
	global globalOptions
	// limits are what --limit says, of the commands that have it.
	limits config.Limits
	log    *slog.Logger
	// logOut is where log writes: standard error, by way of the progress bars
	// while there are any.
	logOut *swapWriter
}

// globalOptions are the flags that every command takes.
type globalOptions struct {
	root string
	// rootGiven: the command line names it.
	rootGiven bool
	// address is the socket of the service to use; empty: whoever has the store.
	address  string
	driver   string
	readOnly bool
	// additional are the roots of additional stores; additionalGiven: the command
	// line names them.
	additional      []string
	additionalGiven bool
	// readOnlyGiven: the command line has --read-only.
	readOnlyGiven bool
	json          bool
	quiet         bool
	logLevel      string
}

const rootLong = `snapctl stores container image layers on disk and mounts them as root file systems. It
imports images, mounts them, shows and packs what was changed, commits the changes, and
exports images. It needs no daemon. While 'snapctl serve' has the store open, the same
commands use the store through that service.

To start, run 'snapctl demo': it shows all of this on a small image of its own.

A NAME is an image or a snapshot. If both have the same name, the image is used. A
PARENT is an image or a committed snapshot. A KEY is a snapshot; 'info', 'changes',
'diff' and 'usage' also take the name of an image there, and use its snapshot.

A store on a read-only disk can be read. With --read-only the command treats any store
as read-only.

--additional names another store, which is only read. Its images can be used like the
images of your own store, without a copy. Snapshots made on these images need the other
store, so name it each time.

Environment:
  SNAPCTL_ROOT    the store, unless --root is given (default /var/lib/layerkeep)
  SNAPCTL_ADDRESS the service to use, unless --address or --root is given (default:
                  the service that has the store open, if any)
  SNAPCTL_DRIVER  the backend, unless --driver is given (default: the backend of the
                  store; for a new store the best backend that works there)
  SNAPCTL_ADDITIONAL  additional stores, separated by colons, unless --additional
                  is given

`

// run carries out one command line and returns its exit code. Errors go to
// s.Err as one line each.
func run(ctx context.Context, s streams, args []string) int {
	err := execute(ctx, s, args)
	if err == nil {
		return exitDone
	}
	var told childExit
	if errors.As(err, &told) {
		return told.code
	}
	if pipeBroke(err) {
		return exitBrokenPipe
	}
	if cause := context.Cause(ctx); cause != nil && exitCode(err) == exitFailed {
		err = interruption{err: err, cause: cause}
	}
	// Nothing is left to be done about an error of standard error itself.
	_, _ = fmt.Fprintln(s.Err, faultLine(err))
	return exitCode(err)
}

// interruption is an error that came because the context ended.
type interruption struct{ err, cause error }

func (i interruption) Error() string   { return i.cause.Error() + ": " + i.err.Error() }
func (i interruption) Unwrap() []error { return []error{i.cause, i.err} }

func execute(ctx context.Context, s streams, args []string) error {
	cmd := newRootCommand(s)
	cmd.SetArgs(args)
	return cmd.ExecuteContext(ctx)
}

// newRootCommand returns the command line with all its commands.
func newRootCommand(s streams) *cobra.Command {
	a := &app{streams: s, log: slog.New(slog.DiscardHandler), logOut: &swapWriter{w: s.Err}}
	cmd := &cobra.Command{
		Use:                        "snapctl",
		Short:                      "Store container image layers on disk, mount, compare and commit them",
		Long:                       rootLong + exitCodes,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		Args:                       unknownCommand,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.global.rootGiven = cmd.Flags().Changed("root")
			a.global.readOnlyGiven = cmd.Flags().Changed("read-only")
			a.global.additionalGiven = cmd.Flags().Changed("additional")
			return errors.Join(a.setUp(), cmd.Context().Err())
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetIn(s.In)
	cmd.SetOut(s.Out)
	cmd.SetErr(s.Err)
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return advise(usagef("%w", err), "'"+helpFor(c)+"' shows how it is used")
	})
	addGlobalFlags(cmd, &a.global)
	cmd.AddCommand(commands(a)...)
	cmd.SetHelpCommand(newHelpCommand())
	for _, c := range cmd.Commands() {
		c.DisableFlagsInUseLine = true
	}
	// Now rather than when it is needed, for its errors.
	cmd.InitDefaultCompletionCmd()
	if c, _, err := cmd.Find([]string{"completion"}); err == nil {
		usageErrors(c)
		c.Args, c.RunE = unknownCommand, cmd.RunE
	}
	return cmd
}

// commands lists the commands in the order in which one meets them.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newImportCommand(a), newImagesCommand(a), newRmiCommand(a),
		newMountCommand(a), newUmountCommand(a),
		newPrepareCommand(a), newViewCommand(a), newCommitCommand(a), newRenameCommand(a), newRmCommand(a),
		newLsCommand(a), newTreeCommand(a), newInfoCommand(a), newUsageCommand(a), newMountsCommand(a),
		newApplyCommand(a), newDiffCommand(a), newChangesCommand(a), newExportCommand(a),
		newGCCommand(a), newCheckCommand(a), newRepairCommand(a), newServeCommand(a), newVersionCommand(a), newDemoCommand(a), newBenchCommand(a), newGenManCommand(a),
	}
}

func addGlobalFlags(cmd *cobra.Command, g *globalOptions) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&g.root, "root", envOr(rootEnv, defaultRoot), "use the store in `DIR`")
	flags.StringVar(&g.address, "address", "", "use the store of the service on the unix `SOCKET` (default: the service that has the store open, if any)")
	flags.StringVar(&g.driver, "driver", os.Getenv(driverEnv), "backend `NAME`: "+strings.Join(all.Names(), ", ")+" (default: the backend of the store; for a new store the best that works)")
	flags.BoolVar(&g.readOnly, "read-only", false, "change nothing in the store: only reading commands work, and mounts are read-only and not recorded")
	flags.StringArrayVar(&g.additional, "additional", filepath.SplitList(os.Getenv(additionalEnv)), "also use the images of the store in `DIR`, which is only read (may be repeated)")
	flags.BoolVar(&g.json, "json", false, "print one JSON object instead of text")
	flags.BoolVarP(&g.quiet, "quiet", "q", false, "print only the result: no progress, no notes")
	flags.StringVar(&g.logLevel, "log-level", "warn", "log at `LEVEL` to standard error: debug, info, warn or error")
	completeFlag(cmd, "root", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	})
	completeFlag(cmd, "additional", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	})
	completeFlag(cmd, "driver", driverNames)
	completeFlag(cmd, "log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// setUp checks the global flags and makes the logger.
func (a *app) setUp() error {
	var level slog.Level
	switch strings.ToLower(a.global.logLevel) {
	case "debug":
		level = slog.LevelDebug
	case "info":
		level = slog.LevelInfo
	case "warn":
		level = slog.LevelWarn
		if a.global.quiet {
			level = slog.LevelError
		}
	case "error":
		level = slog.LevelError
	default:
		return usagef("unknown log level %q; choose debug, info, warn or error", a.global.logLevel)
	}
	if a.global.root == "" {
		return usagef("--root is empty")
	}
	if a.global.address == "" && !a.global.rootGiven {
		a.global.address = os.Getenv(addressEnv)
	}
	a.log = newLogger(a.logOut, level)
	return nil
}

// newLogger logs without times: the reader of a terminal knows what time it is.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && attr.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attr
		},
	}))
}
