package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench"
)

// adviceOn returns the advice for a kind of work.
func adviceOn(t *testing.T, r *bench.Report, work string) Advice {
	t.Helper()
	for _, a := range Verdict(r) {
		if a.Work == work {
			return a
		}
	}
	t.Fatalf("no advice for %q", work)
	return Advice{}
}

func with(r *bench.Report, results ...bench.Result) *bench.Report {
	r.Results = append(r.Results, results...)
	return r
}

func TestTheDriverThatIsFasterBeyondTheNoiseWins(t *testing.T) {
	r := with(newReport(),
		result("read/a", "overlay2", bench.Seconds, around(1, 10, 1)...), result("read/a", "btrfs", bench.Seconds, around(2, 10, 2)...),
		result("read/b", "overlay2", bench.Seconds, around(1, 10, 3)...), result("read/b", "btrfs", bench.Seconds, around(8, 10, 4)...))
	a := adviceOn(t, r, workRead)
	require.Equal(t, "overlay2", a.Winner)
	require.Equal(t, "btrfs", a.RunnerUp)
	require.InEpsilon(t, 4, a.Times, 0.02) // the square root of 2 times 8
	require.Empty(t, a.Equal)
	require.Equal(t, []string{"read/a", "read/b"}, a.Cases)
	require.Contains(t, a.Sentence, "overlay2 is fastest; btrfs takes")
}

func TestADifferenceWithinTheNoiseIsNone(t *testing.T) {
	r := with(newReport(), result("read/a", "overlay2", bench.Seconds, around(1, 10, 1)...), result("read/a", "btrfs", bench.Seconds, around(1, 10, 2)...))
	a := adviceOn(t, r, workRead)
	require.Len(t, a.Equal, 1)
	require.Empty(t, a.RunnerUp)
	require.Empty(t, a.Unknown)
	require.Contains(t, a.Sentence, "equal within the noise")
}

func TestThreeSamplesDoNotDecide(t *testing.T) {
	r := with(newReport(), result("read/a", "overlay2", bench.Seconds, 1, 1, 1), result("read/a", "btrfs", bench.Seconds, 9, 9, 9))
	a := adviceOn(t, r, workRead)
	require.Equal(t, []string{"btrfs"}, a.Unknown)
	require.Contains(t, a.Sentence, "too few samples")
}

func TestPeersAndTheBareFileSystemAreShownAndNeverRecommended(t *testing.T) {
	r := with(newReport(),
		result("workloads/apt", "overlay2", bench.Seconds, around(2, 10, 1)...),
		result("workloads/apt", "containerd-overlayfs", bench.Seconds, around(1, 10, 2)...),
		result("workloads/apt", bareName, bench.Seconds, around(0.5, 10, 3)...))
	a := adviceOn(t, r, workWhole)
	require.Equal(t, "overlay2", a.Winner)
	require.Empty(t, a.Options)
	require.Contains(t, a.Sentence, "Beside the bare file system, overlay2 takes")
	require.Contains(t, a.Sentence, "For comparison, containerd-overlayfs is")
	require.Equal(t, []string{bareName, "containerd-overlayfs", "overlay2"}, []string{a.Standings[0].Subject, a.Standings[1].Subject, a.Standings[2].Subject})
}

func TestTheSchemeOfHardLinksIsNeverRecommended(t *testing.T) {
	r := with(newReport(),
		result("inodes/image", "overlay2", bench.Inodes, around(2000, 10, 1)...),
		result("inodes/image", "hardlinks", bench.Inodes, around(10, 10, 2)...))
	a := adviceOn(t, r, workInodes)
	require.Equal(t, "overlay2", a.Winner)
	require.Empty(t, a.Options)
	require.Len(t, a.Standings, 2)
}

// A peer that copies images beforehand is not said to be fast where that does
// not show.
func TestAPeerThatCopiesIsNoFasterThanWhatItHasPaidBefore(t *testing.T) {
	r := with(newReport(),
		result("copy-up/chmod/size=1MiB", "overlay2", bench.Seconds, around(50, 10, 1)...),
		result("copy-up/chmod/size=1MiB", "containerd-native", bench.Seconds, around(1, 10, 2)...))
	a := adviceOn(t, r, workAttributes)
	require.Contains(t, a.Sentence, "For comparison, containerd-native is 50.5 times as fast, once it has copied the whole image.")
}

func TestTheSimplestVariantThatHelpsIsAnOptionAtAPrice(t *testing.T) {
	r := with(newReport(),
		result("copy-up/chmod/size=1MiB", "overlay2", bench.Seconds, around(50, 10, 1)...),
		result("copy-up/chmod/size=1MiB", "overlay2+metacopy", bench.Seconds, around(1.001, 10, 2)...),
		result("copy-up/chmod/size=1MiB", "overlay2+metacopy+volatile", bench.Seconds, around(1, 10, 3)...))
	a := adviceOn(t, r, workAttributes)
	require.Equal(t, "overlay2", a.Winner)
	require.Len(t, a.Options, 1)
	require.Equal(t, "overlay2+metacopy", a.Options[0].Subject)
	require.InEpsilon(t, 50, a.Options[0].Times, 0.02)
	require.Contains(t, a.Sentence, "a layer is worth nothing without its parents")
}

func TestADriverThatCopiesTheImageIsAnOptionWithThePriceOfThat(t *testing.T) {
	r := with(newReport(),
		result("copy-up/size/size=4KiB", "overlay2", bench.Seconds, around(10, 10, 1)...), result("copy-up/size/size=4KiB", "vfs", bench.Seconds, around(1, 10, 2)...),
		result("life-cycle/prepare/files=1000", "overlay2", bench.Seconds, around(0.001, 10, 3)...),
		result("life-cycle/prepare/files=1000", "vfs", bench.Seconds, around(2, 10, 4)...))
	a := adviceOn(t, r, workSmall)
	require.Equal(t, "overlay2", a.Winner)
	require.Len(t, a.Options, 1)
	require.Equal(t, "vfs", a.Options[0].Subject)
	require.Contains(t, a.Options[0].GivesUp, "for prepare files=1000, vfs takes 2.0")
	require.Contains(t, a.Options[0].GivesUp, "(n=10) and overlay2 996 µs (n=10)")
	short := adviceOn(t, r, workOverall)
	require.Contains(t, short.Sentence, "vfs takes 2.0")
	// Where making the container counts, vfs competes like the others.
	require.Equal(t, "vfs", adviceOn(t, r, workLife).RunnerUp)
}

func TestOnlyCasesThatAllDriversHaveAreCompared(t *testing.T) {
	r := with(newReport(),
		result("read/a", "overlay2", bench.Seconds, around(1, 10, 1)...), result("read/a", "btrfs", bench.Seconds, around(2, 10, 2)...),
		result("read/b", "overlay2", bench.Seconds, around(900, 10, 3)...),
		result("read/a", "aufs", bench.Seconds, around(2, 10, 4)...), result("read/b", "aufs", bench.Seconds, around(1, 10, 5)...))
	a := adviceOn(t, r, workRead)
	require.Equal(t, []string{"read/a"}, a.Cases)
	require.Equal(t, "overlay2", a.Winner)
}

func TestMoreInOneSecondIsBetter(t *testing.T) {
	r := with(newReport(), result("workloads/db", "overlay2", bench.PerSecond, around(100, 10, 1)...), result("workloads/db", "btrfs", bench.PerSecond, around(300, 10, 2)...))
	a := adviceOn(t, r, workWhole)
	require.Equal(t, "btrfs", a.Winner)
	require.InEpsilon(t, 3, a.Times, 0.02)
	require.Contains(t, a.Sentence, "overlay2 does 0.34 times as much in the same time")
}

func TestNoInodesAreBetterThanSome(t *testing.T) {
	r := with(newReport(), result("inodes/layer", "overlay2", bench.Inodes, around(1000, 10, 1)...), result("inodes/layer", "btrfs", bench.Inodes, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	a := adviceOn(t, r, workInodes)
	require.Equal(t, "btrfs", a.Winner)
	require.Contains(t, a.Sentence, "takes fewest inodes")
}

func TestEveryCaseHasAKindOfWork(t *testing.T) {
	for name, want := range map[string]string{
		"copy-up/size/size=0": workSmall, "copy-up/size/size=64KiB": workSmall, "copy-up/size/size=1MiB": workLarge, "copy-up/size/size=1GiB": workLarge,
		"copy-up/overwrite/size=1MiB": workLarge, "copy-up/chown-all/files=1000": workAttributes, "copy-up/setxattr/size=1MiB": workAttributes,
		"copy-up/rename-directory/entries=1": workNames, "copy-up/unlink/size=1MiB": workNames, "copy-up/depth/layers=10": workDeep, "copy-up/new": workFirst,
		"inodes/x": workInodes, "read/x": workRead, "life-cycle/x": workLife, "workloads/x": workWhole, "later/x": "later",
	} {
		one := result(name, "overlay2", bench.Seconds, 1)
		require.Equal(t, want, workOf(&caseInfo{suite: one.Suite, plain: one.Case, params: one.Params}), name)
	}
}

func TestVerdictOfStrangeReports(t *testing.T) {
	for name, r := range hostileReports() {
		for _, a := range Verdict(r) {
			require.NotEmpty(t, a.Sentence, name)
			require.True(t, strings.HasPrefix(a.Sentence, a.Lead), name)
			require.True(t, isFinite(a.Times), name)
			for _, s := range a.Standings {
				require.True(t, isFinite(s.Times) && s.Times > 0, name)
			}
		}
	}
}
