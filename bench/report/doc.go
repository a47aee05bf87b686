// Package report turns what package bench has measured into something to read:
// [Text] for a terminal, [HTML] for one self-contained page with plots,
// [Benchstat] for the benchstat program, and [Verdict], which says in words
// which driver suits which work and what it costs. [Compare] finds what changed
// between two runs.
//
// It measures nothing, and it needs nothing but the report:
//
//	r, err := bench.Read(file)
//	if err != nil {
//		return err
//	}
//	return report.Text(os.Stdout, r, 80)
//
// A report may come from anywhere, so its texts are escaped, and its numbers
// are not trusted: samples may be missing, negative or huge.
//
// # Statistics
//
// A result is the median of its samples with its 95 % confidence interval,
// which assumes nothing about how the samples are distributed. Such an interval
// takes six samples; with fewer there is none, and "±?" is shown. Two results
// differ when the Mann-Whitney U test says so (p < 0.05), the intervals of
// their medians do not overlap, and the medians of single rounds say the same.
// The last condition is there because the samples of one round resemble each
// other: 96 samples of three rounds are worth less than 96 rounds.
//
// # The rules of the verdict
//
//   - Cases are grouped by kind of work: by suite, and within copy-up by what
//     is done and by the size of the file. A suite that is not known is a kind
//     of its own.
//   - In each place, the drivers that have a result in at least half of the
//     cases of a kind are compared in those cases that all of them have.
//   - The winner is the driver with the least geometric mean of the main
//     metric, which is the first one of a result. It beats another driver only
//     if the geometric mean of the ratios is above 1.03 when each case in which
//     the two do not differ counts as a tie.
//   - Snapshotters of other programs and the bare file system are shown, never
//     recommended.
//   - A variant of a driver that beats the winner is an option, with what it
//     gives up. Of several that are equal, it is the one with fewest options.
//   - A driver that copies the whole image for each container pays when the
//     container is made. First writes and reading do not contain that, so there
//     it is no winner but an option; its price comes from the life-cycle suite,
//     if that was run.
package report
