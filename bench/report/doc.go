// Package report turns what package bench has measured into something to read: [Text] for a
// terminal, [HTML] for one self-contained page with plots, [Benchstat] for the benchstat
// program, and [Verdict], which says in words which driver suits which work and what it
// costs. [Compare] finds what changed between two runs.
//
// It measures nothing, and it needs nothing but the report:
//
//	r, err := bench.Read(file)
//	if err != nil {
//		return err
//	}
//	return report.Text(os.Stdout, r, 80)
//
// A report may come from anywhere, so its texts are escaped, and its numbers are not
// trusted: samples may be missing, negative or huge.
//
// # Statistics
//
// A result is the median of its samples with its 95 % confidence interval, which assumes
// nothing about how the samples are distributed. Such an interval takes six samples; with
// fewer there is none, and "±?" is shown. Two results differ when the Mann-Whitney U test
// says so (p < 0.05), the intervals of their medians do not overlap, and the medians of
// single rounds say the same. The last condition is there because the samples of one round
// resemble each other: 96 samples of three rounds are worth less than 96 rounds.
package report
