package report

import (
	"math"
	"strconv"
	"strings"

	"github.com/layerkeep/layerkeep/bench"
)

// A px is a coordinate in an SVG. It never prints as NaN or infinite.
type px float64

func (p px) String() string {
	if !isFinite(float64(p)) {
		return "0"
	}
	return strings.TrimSuffix(strconv.FormatFloat(float64(p), 'f', 1, 64), ".0")
}

// farthest bounds what is drawn, so that differences of numbers do not
// overflow.
const farthest = 1e300

func clamp(v float64) float64 { return min(max(v, -farthest), farthest) }

// An axis maps values to positions from 0 to 1.
type axis struct {
	log    bool
	lo, hi float64 // logarithms to the base 2 if log
	unit   string
	ticks  []tickMark
}

type tickMark struct {
	at   float64 // from 0 to 1
	text string
}

// newAxis makes an axis that all results fit on. It is logarithmic if asked for
// and if all medians are positive; else it contains 0.
func newAxis(results []*summary, wantLog bool) *axis {
	a := &axis{log: wantLog}
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, s := range results {
		a.unit = s.unit
		a.log = a.log && s.median > 0
		lo, hi = min(lo, s.median), max(hi, s.median)
		if s.bounded {
			hi = max(hi, s.hi)
			if s.lo > 0 || !wantLog {
				lo = min(lo, s.lo)
			}
		}
	}
	if len(results) == 0 {
		lo, hi = 0, 1
	}
	if lo, hi = clamp(lo), clamp(hi); a.log {
		a.setLog(max(lo, 1e-300), max(hi, 1e-300))
	} else {
		a.setLinear(min(lo, 0), max(hi, 0))
	}
	return a
}

const mostTicks = 5

// setLog puts the ends of the axis on 1, 2 or 5 times a power of ten, or on
// powers of two for bytes.
func (a *axis) setLog(lo, hi float64) {
	base := 10.0
	a.lo, a.hi = math.Log2(roundLog(lo, false)), math.Log2(roundLog(hi, true))
	if a.unit == bench.Bytes {
		base = 2
		a.lo, a.hi = math.Floor(math.Log2(lo)), math.Ceil(math.Log2(hi))
	}
	if a.hi-a.lo < 1 {
		a.hi = a.lo + 1
	}
	perBase := math.Log2(base)
	first, last := math.Ceil(a.lo/perBase-1e-9), math.Floor(a.hi/perBase+1e-9)
	step := niceStep((last - first) / mostTicks)
	for e := first - 1; e <= last; e++ {
		if e >= first && math.Mod(e-first, step) == 0 {
			a.addTick(math.Exp2(e * perBase))
		}
		if base == 10 && a.hi-a.lo <= 2.01*perBase {
			a.addTick(2 * math.Pow(10, e))
			a.addTick(5 * math.Pow(10, e))
		}
	}
}

// roundLog rounds a positive number down or up to 1, 2 or 5 times a power of
// ten.
func roundLog(v float64, up bool) float64 {
	const almost = 1e-9
	power := math.Pow(10, math.Floor(math.Log10(v)+almost))
	last := power
	for _, f := range []float64{1, 2, 5, 10} {
		if up && power*f >= v*(1-almost) {
			return power * f
		}
		if power*f <= v*(1+almost) {
			last = power * f
		}
	}
	return last
}

// niceStep is the least of 1, 2, 5, 10, 20, … that is at least v.
func niceStep(v float64) float64 {
	for step := 1.0; ; step *= 10 {
		for _, f := range []float64{1, 2, 5} {
			if step*f >= v {
				return step * f
			}
		}
	}
}

func (a *axis) setLinear(lo, hi float64) {
	if hi <= lo {
		hi = lo + 1
	}
	step := linearStep((hi-lo)/(mostTicks-1), a.unit)
	a.lo, a.hi = math.Floor(lo/step+1e-9)*step, math.Ceil(hi/step-1e-9)*step
	for i := math.Floor(lo/step + 1e-9); i <= math.Ceil(hi/step-1e-9); i++ {
		a.addTick(i * step)
	}
}

// linearStep rounds up to 1, 2 or 5 times a power of ten; for bytes, to a power
// of two.
func linearStep(v float64, unit string) float64 {
	if v <= 0 || !isFinite(v) {
		return 1
	}
	if unit == bench.Bytes {
		return math.Exp2(math.Ceil(math.Log2(v)))
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if power*f >= v {
			return power * f
		}
	}
	return power * 10
}

// addTick adds a mark, unless it is outside of the axis.
func (a *axis) addTick(v float64) {
	at := v
	if a.log {
		at = math.Log2(v)
	}
	if at >= a.lo-1e-9 && at <= a.hi+1e-9 && len(a.ticks) < 4*mostTicks {
		a.ticks = append(a.ticks, tickMark{a.at(v), tickText(v, a.unit)})
	}
}

// tickText is a round value: "1 ms", not "1.00 ms".
func tickText(v float64, unit string) string {
	if v == 0 {
		return "0"
	}
	text := formatValue(v, unit)
	number, rest, _ := strings.Cut(text, " ")
	if strings.Contains(number, ".") && !strings.Contains(number, "e") {
		number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
	}
	return strings.TrimSpace(number + " " + rest)
}

// at returns where a value is, from 0 to 1.
func (a *axis) at(v float64) float64 {
	v = clamp(v)
	if a.log {
		if v <= 0 {
			return 0
		}
		v = math.Log2(v)
	}
	at := (v - a.lo) / (a.hi - a.lo)
	if !isFinite(at) {
		return 0
	}
	return min(max(at, 0), 1)
}
