package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/layerkeep/layerkeep/bench"
)

type scale struct {
	from float64
	name string
}

var (
	timeScales = []scale{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}, {1e-9, "ns"}}
	byteScales = []scale{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}, {1, "B"}}
)

// formatValue writes a value of a metric with three digits: "1.52 ms", "47.4
// KiB", "94 %".
func formatValue(v float64, unit string) string {
	switch unit {
	case bench.Seconds:
		return scaled(v, timeScales)
	case bench.Bytes:
		return scaled(v, byteScales)
	case bench.Share:
		return digits(v*100) + " %"
	case bench.PerSecond:
		return digits(v) + "/s"
	case bench.Inodes, bench.Count, "":
		return digits(v)
	}
	return digits(v) + " " + cut(unit, 8)
}

func scaled(v float64, scales []scale) string {
	last := scales[len(scales)-1]
	for _, s := range scales {
		// 0.9995 is where three digits round up to the next unit.
		if math.Abs(v) >= s.from*0.9995 {
			return digits(v/s.from) + " " + s.name
		}
	}
	if v == 0 {
		return "0 " + last.name
	}
	return digits(v/last.from) + " " + last.name
}

// digits writes a number with three digits that count.
func digits(v float64) string {
	abs := math.Abs(v)
	switch {
	case v == 0:
		return "0"
	case abs >= 1e7 || abs < 0.001:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case abs >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case abs >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// formatSpread writes the confidence interval as a share of the median: "±12%";
// "±?" if there are too few samples for one.
func formatSpread(s *summary) string {
	share, ok := s.spread()
	switch {
	case !s.bounded:
		return "±?"
	case !ok || share >= 10:
		return "±>999%"
	}
	return fmt.Sprintf("±%.0f%%", 100*share)
}

// formatRatio writes how many times a value is another: "77.0x". It is empty
// where that has no meaning.
func formatRatio(v, to float64) string {
	ratio := v / to
	if v <= 0 || to <= 0 || !isFinite(ratio) {
		return ""
	}
	return digits(ratio) + "x"
}

// parseNumber reads the value of a parameter: "1000", "64KiB", "1GiB".
func parseNumber(text string) (float64, bool) {
	factor := 1.0
	for _, s := range byteScales {
		if number, ok := strings.CutSuffix(text, s.name); ok {
			text, factor = number, s.from
			break
		}
	}
	v, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	v *= factor
	return v, err == nil && isFinite(v)
}

// oneLine replaces what could move a terminal's cursor or change the direction
// of text.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// cut shortens a text to at most n runes.
func cut(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	if n < 1 {
		return ""
	}
	return string(runes[:n-1]) + "…"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// list writes names as "a", "a and b", "a, b and c".
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
