package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/bench"
	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/report"
)

const benchLong = `Measure what each driver costs on this machine: the first write to a file of an image
(copy-up), inodes and disk space, reading, the life of containers, and whole workloads.
The command prints tables, and says in words which driver suits which work. It needs
root.

Without --fs it measures on the file system of the --scratch directory. With --fs it
makes a small disk for each file system, in a file in that directory, and measures on
these disks. It removes everything that it made, also when it is interrupted. What a
killed run left is removed by the next run in the same directory.

--quick measures a part of the cases and takes less than two minutes. A whole run takes
an hour or more for each file system. With --out the command writes the report to DIR
as bench.json (with every sample), bench.txt (for benchstat) and bench.html (with
plots). An interrupted run continues from DIR/bench.part.json when you start it again
with the same options.

The drivers take turns, round by round, until the result is precise enough or the time
of the case is over. Other work on the machine makes the results worse: the report says
how steady the machine was.

'snapctl bench list' shows what can be measured. 'snapctl bench compare A.json B.json'
shows what changed between two runs.`

const benchJSON = `{
  "layerkeep_bench": 1,
  "version": "1.2.3",
  "started": "2026-01-02T03:04:05Z",
  "seconds": 93.5,
  "complete": true,
  "quick": true,
  "asked": {
    "file_systems": [
      "ext4"
    ],
    "disk_size": 3221225472,
    "drivers": [
      "overlay2"
    ],
    "suites": [
      "copy-up"
    ],
    "case_seconds": 20
  },
  "machine": {
    "kernel": "6.12.0",
    "os": "Debian GNU/Linux 13",
    "arch": "amd64",
    "cpu": "…",
    "cpus": 2,
    "memory": 8589934592,
    "virtual": true
  },
  "noise": {
    "control": [
      0.0021
    ],
    "load_before": 0.1,
    "load_after": 1.5,
    "steal": 0.01
  },
  "places": [
    {
      "name": "ext4",
      "file_system": "ext4",
      "options": "rw,relatime",
      "device": "a loop device over a file on ext4",
      "shared": false,
      "reflink": false,
      "size": 3145728,
      "free": 3145728
    }
  ],
  "subjects": [
    {
      "name": "overlay2",
      "about": "the driver overlay2",
      "variant_of": "",
      "copies": false,
      "peer": false,
      "reference": false,
      "bare": false
    }
  ],
  "results": [
    {
      "suite": "copy-up",
      "case": "size",
      "params": [
        {
          "name": "size",
          "value": "4KiB"
        }
      ],
      "place": "ext4",
      "subject": "overlay2",
      "rounds": 5,
      "seconds": 0.4,
      "metrics": [
        {
          "name": "first",
          "unit": "s",
          "samples": [
            0.000061
          ]
        }
      ],
      "note": "…",
      "skipped": "…"
    }
  ]
}`

func newBenchCommand(a *app) *cobra.Command {
	var o bench.Options
	var out string
	cmd := &cobra.Command{
		Use:   "bench [--quick] [--drivers LIST] [--suite LIST] [--scratch DIR] [--fs LIST] [--out DIR]",
		Short: "Measure what each driver costs on this machine",
		Long:  jsonHelp(benchLong, benchJSON),
		Args:  exactArgs(0),
		// Its subcommands complete themselves.
		ValidArgsFunction: cobra.NoFileCompletions,

		RunE: func(cmd *cobra.Command, _ []string) error { return runBench(cmd.Context(), a, o, out) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.Quick, "quick", false, "measure a part of the cases, in less than two minutes")
	flags.StringSliceVar(&o.Drivers, "drivers", nil, "measure only the drivers in `LIST`, separated by commas")
	flags.StringSliceVar(&o.Suites, "suite", nil, "measure only the suites in `LIST`, separated by commas")
	flags.StringVar(&o.Scratch, "scratch", os.TempDir(), "measure in `DIR`, or make the disks of --fs in it")
	flags.StringSliceVar(&o.FileSystems, "fs", nil, "measure on a disk of each file system in `LIST`: "+strings.Join(disk.FileSystems(), ", "))
	flags.StringVar(&out, "out", "", "write the report to `DIR`; a missing directory is made")
	flags.DurationVar(&o.CaseTime, "case-time", 0, "repeat each case for at most `DURATION` (default 20s), but at least five times")
	flags.DurationVar(&o.Time, "time", 0, "measure for at most `DURATION`, for example 10m, and leave out the cases that do not fit")
	completeFlag(cmd, "drivers", driverNames)
	completeFlag(cmd, "suite", cobra.FixedCompletions(bench.SuiteNames(), cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "fs", cobra.FixedCompletions(disk.FileSystems(), cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "time", cobra.NoFileCompletions)
	completeFlag(cmd, "case-time", cobra.NoFileCompletions)
	cmd.AddCommand(newBenchListCommand(a), newBenchCompareCommand(a))
	return cmd
}

func runBench(ctx context.Context, a *app, o bench.Options, out string) error {
	if o.Time < 0 || o.CaseTime < 0 {
		return usagef("--time %v, --case-time %v: a time cannot be negative", o.Time, o.CaseTime)
	}
	o.Version = version
	var dir *report.Dir
	if out != "" {
		var err error
		if dir, err = report.OpenDir(out); err != nil {
			return doing(err, "preparing the directory %s", out)
		}
		if o.Before, err = dir.Before(); err != nil {
			return advise(notReport(err), "remove that file, or choose another --out")
		}
		if o.Before != nil {
			a.note("going on with the run that is in %s", dir.Part())
		}
		o.Save = dir.Save
	}
	meter := newMeter(a)
	o.Progress = meter.show
	r, err := bench.Run(ctx, o)
	meter.end()
	if err != nil {
		return explainBench(err, o, dir)
	}
	if dir != nil {
		if err := dir.Finish(r); err != nil {
			return doing(err, "writing the report to %s", out)
		}
		a.note("the report is in %s", strings.Join(dir.Files(), ", "))
	}
	return a.result(r, func(w io.Writer) error { return report.Text(w, r, a.columns()) })
}

// notReport gives an error of reading a report its kind.
func notReport(err error) error {
	if errors.Is(err, bench.ErrNotReport) {
		return as(errInvalid, err)
	}
	return err
}

// explainBench gives an error of a run its kind and says what to do.
func explainBench(err error, o bench.Options, dir *report.Dir) error {
	switch {
	case errors.Is(err, bench.ErrUnknown):
		return usagef("%w", err)
	case errors.Is(err, bench.ErrOtherRun):
		return advise(fmt.Errorf("%w: %w", errState, err), "give the same options again, remove "+dir.Part()+", or choose another --out")
	case errors.Is(err, disk.ErrInUse):
		return advise(fmt.Errorf("%w: %w", errState, err), "wait until it has ended, or choose another --scratch; two runs on one disk disturb each other")
	case errors.Is(err, disk.ErrNoSpace):
		return advise(err, "choose a directory with more free space with --scratch, or measure less with --quick")
	case errors.Is(err, context.Canceled) && dir != nil:
		return advise(err, "the results so far are kept; run the same command again to continue")
	}
	return doing(err, "measuring in %s", o.Scratch)
}
