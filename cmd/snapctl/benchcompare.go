package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/bench/report"
)

const benchCompareLong = `Show what changed between two runs of 'snapctl bench' by more than the noise: between
kernels, disks or versions. A.json and B.json are files bench.json that --out has
written; name the older one first. The command tests each difference, and corrects the
tests for their number: at most one in twenty of the shown changes is expected to be
chance.

The exit code is 0, whatever has changed.`

func newBenchCompareCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "Show what changed between two runs",
		Long:  benchCompareLong,
		Args:  exactArgs(2),
		RunE:  func(_ *cobra.Command, args []string) error { return runBenchCompare(a, args[0], args[1]) },
	}
}

func runBenchCompare(a *app, before, after string) error {
	first, err := report.ReadFile(before)
	if err != nil {
		return notReport(err)
	}
	second, err := report.ReadFile(after)
	if err != nil {
		return notReport(err)
	}
	c, err := report.Compare(first, second)
	if errors.Is(err, report.ErrNothingInCommon) {
		err = fmt.Errorf("%w: %w", errInvalid, err)
	}
	if err != nil {
		return doing(err, "comparing %s with %s", before, after)
	}
	return a.result(c, func(w io.Writer) error { return report.WriteComparison(w, c, a.columns()) })
}
