// Run measures the drivers of this module and containerd's snapshotters in the
// same run, as 'snapctl bench' does the drivers alone, and writes the same
// report.
//
//	run [-quick] [-drivers LIST] [-suite LIST] [-scratch DIR] [-fs LIST] [-case-time DURATION]
//	    [-out DIR]
//
// With -out, an interrupted run goes on where it was when it is started again
// with the same options.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/layerkeep/layerkeep/bench"
	"github.com/layerkeep/layerkeep/bench/peers"
	"github.com/layerkeep/layerkeep/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context) error {
	o := bench.Options{Subjects: append(bench.Subjects(), peers.Subjects()...), Version: "peers"}
	flag.BoolVar(&o.Quick, "quick", false, "measure a part of the cases")
	flag.StringVar(&o.Scratch, "scratch", os.TempDir(), "where to measure")
	flag.DurationVar(&o.Time, "time", 0, "measure no longer than this")
	flag.DurationVar(&o.CaseTime, "case-time", 0, "repeat each case no longer than this, but five times at least")
	drivers := flag.String("drivers", "", "only these subjects, separated by commas")
	suites := flag.String("suite", "", "only these suites, separated by commas")
	kinds := flag.String("fs", "", "make a disk of each of these file systems, separated by commas")
	out := flag.String("out", "", "directory for the report")
	flag.Parse()
	o.Drivers, o.Suites, o.FileSystems = list(*drivers), list(*suites), list(*kinds)
	o.Progress = func(p bench.Progress) {
		if p.Round <= 1 {
			fmt.Fprintf(os.Stderr, "[%d/%d] %s\n", p.Done+1, p.Total, p.What)
		}
	}
	var dir *report.Dir
	if *out != "" {
		var err error
		if dir, err = report.OpenDir(*out); err != nil {
			return err
		}
		if o.Before, err = dir.Before(); err != nil {
			return err
		}
		o.Save = dir.Save
	}
	r, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	if dir != nil {
		if err := dir.Finish(r); err != nil {
			return err
		}
	}
	return report.Text(os.Stdout, r, 0)
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}
