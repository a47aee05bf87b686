package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/bench"
)

func optionCount(subject string) int { return strings.Count(subject, "+") }

// superlative says what the winner of a contest is, by unit.
func superlative(unit string) string {
	switch unit {
	case bench.Seconds, bench.PerSecond:
		return "fastest"
	case bench.Inodes:
		return "the one that takes fewest inodes"
	case bench.Bytes:
		return "the one that takes fewest bytes"
	}
	return "best"
}

// moreThan says that something needs so many times what something else needs.
func moreThan(times float64, unit string) string {
	switch {
	case times < 1:
		return lessThan(1/times, unit)
	case unit == bench.Seconds && times < 1.995:
		return fmt.Sprintf("takes %.0f %% longer", 100*(times-1))
	case unit == bench.Seconds:
		return "takes " + digits(times) + " times as long"
	case unit == bench.PerSecond:
		return "does " + digits(1/times) + " times as much in the same time"
	case unit == bench.Inodes:
		return "takes " + digits(times) + " times as many inodes"
	case unit == bench.Bytes:
		return "takes " + digits(times) + " times as many bytes"
	}
	return "needs " + digits(times) + " times as much"
}

// lessThan says that something needs so many times less than something else.
func lessThan(times float64, unit string) string {
	switch unit {
	case bench.Seconds, bench.PerSecond:
		if times < 1.995 {
			return fmt.Sprintf("is %.0f %% faster", 100*(times-1))
		}
		return "is " + digits(times) + " times as fast"
	case bench.Inodes:
		return "takes " + digits(1/times) + " times as many inodes"
	case bench.Bytes:
		return "takes " + digits(1/times) + " times as many bytes"
	}
	return "needs " + digits(1/times) + " times as much"
}

// sentence says in words what an advice has found.
func (x *index) sentence(c *contest, a Advice) string {
	parts := []string{a.Lead}
	if bare := c.kinds.bareOf(c.subjects); bare != "" {
		parts = append(parts, besideBare(c, a.Winner, bare))
	}
	if a.Cost != "" {
		parts = append(parts, a.Cost)
	}
	for _, o := range a.Options {
		price := "but " + o.GivesUp
		if x.kinds.isCopying(o.Subject) {
			price = "once it has copied the whole image" // the advice for the place has the rest
		}
		parts = append(parts, fmt.Sprintf("%s %s, %s.", o.Subject, lessThan(o.Times, c.unit()), price))
	}
	for _, s := range c.subjects {
		if x.kinds.isPeer(s) {
			text := standing(c, s, a.Winner)
			if c.kinds.isCopying(s) && !containsPrepare(c.work) {
				text += ", once it has copied the whole image"
			}
			parts = append(parts, fmt.Sprintf("For comparison, %s %s.", s, text))
		}
	}
	return strings.Join(parts, " ")
}

// lead names the winner and how the other drivers did.
func lead(c *contest, a Advice) string {
	var rest []string
	for _, s := range c.drivers() {
		if s != a.Winner && !slices.Contains(a.Equal, s) && !slices.Contains(a.Unknown, s) {
			text := s + " " + moreThan(c.times(s, a.Winner), c.unit())
			if n := c.losses(a.Winner, s); n > 0 {
				text += fmt.Sprintf(" (but is better in %d of %d cases)", n, len(c.cases))
			}
			rest = append(rest, text)
		}
	}
	var text string
	switch {
	case a.isGuess():
		return fmt.Sprintf("there are too few samples to tell %s apart (%s).", list(append([]string{a.Winner}, a.Unknown...)),
			plural(len(c.cases), "case", "cases"))
	case len(a.Equal) == 0 && len(rest) == 0:
		text = a.Winner + " is the only driver that was measured in these cases"
		if !c.kinds.isCopying(a.Winner) && slices.ContainsFunc(c.subjects, c.kinds.isCopyingChoice) {
			text = a.Winner + " is the only driver measured that does not copy the whole image first"
		}
	case len(a.Equal) == 0:
		text = a.Winner + " is " + superlative(c.unit())
	default:
		text = list(append([]string{a.Winner}, a.Equal...)) + " are equal within the noise"
	}
	if len(rest) > 0 {
		text += "; " + list(rest)
	}
	for _, s := range a.Unknown {
		text += "; " + s + " has too few samples to be compared"
	}
	return text + " (" + plural(len(c.cases), "case", "cases") + ")."
}

// standing says how a subject did beside the winner.
func standing(c *contest, s, winner string) string {
	switch {
	case c.tooFew(s, winner):
		return "has too few samples to be compared"
	case !c.beats(winner, s) && !c.beats(s, winner):
		return "is equal to " + winner + " within the noise"
	}
	return moreThan(c.times(s, winner), c.unit())
}

func besideBare(c *contest, winner, bare string) string {
	switch {
	case c.tooFew(winner, bare):
		return "Too few samples tell how it compares with the bare file system."
	case !c.beats(winner, bare) && !c.beats(bare, winner):
		return winner + " is as good as the bare file system, within the noise."
	}
	text := fmt.Sprintf("Beside the bare file system, %s %s", winner, moreThan(c.times(winner, bare), c.unit()))
	if !containsPrepare(c.work) {
		text += " (whose copy of the image was there before)"
	}
	return text + "."
}

// cost says what the last of the cases costs with a driver.
func (x *index) cost(c *contest, subject string) string {
	last := c.cases[len(c.cases)-1]
	one := x.cell(c.place, last, subject)
	main := one.metric(last.main)
	text := fmt.Sprintf("With %s, %s: %s (n=%d)", subject, last.label(), withUnit(main), main.n())
	n := 0
	for _, s := range one.metrics {
		if s == main || s.unit != bench.Bytes && s.unit != bench.Inodes {
			continue
		}
		if n != 0 && n != s.n() {
			text += fmt.Sprintf(" (n=%d)", n)
		}
		text += fmt.Sprintf(", %s %s", s.metric, formatValue(s.median, s.unit))
		n = s.n()
	}
	if n != 0 {
		text += fmt.Sprintf(" (n=%d)", n)
	}
	return text + "."
}

func withUnit(s *summary) string {
	text := formatValue(s.median, s.unit)
	if s.unit == bench.Inodes {
		text += " inodes"
	}
	return text
}

// copyPrice says what a copying driver pays when a container is made, with
// numbers if the suite that has them was run.
func (x *index) copyPrice(place, subject, winner string) string {
	text := "it copies the whole image whenever a container is made, which first writes and reading do not show"
	for i := len(x.cases) - 1; i >= 0; i-- {
		c := x.cases[i]
		if c.suite != lifeCycle || !strings.Contains(c.plain, "prepare") && !strings.Contains(c.plain, "start") {
			continue
		}
		a, b := x.main(place, c, subject), x.main(place, c, winner)
		if a == nil || b == nil {
			continue
		}
		return text + fmt.Sprintf(": for %s, %s takes %s (n=%d) and %s %s (n=%d)", c.label(), subject,
			withUnit(a), a.n(), winner, withUnit(b), b.n())
	}
	if slices.Contains(x.suites, lifeCycle) {
		return text
	}
	return text + "; the life-cycle suite, which was not run, shows how long that takes"
}

// overallSentence sums up a place.
func (x *index) overallSentence(here []Advice, names []string, wins map[string]int, a Advice) string {
	works := plural(len(here), "kind of work", "kinds of work")
	var parts []string
	for _, s := range names {
		parts = append(parts, fmt.Sprintf("%s in %d", s, wins[s]))
	}
	var text string
	switch {
	case len(names) == 1:
		text = fmt.Sprintf("%s is the best or the only driver in %s.", names[0], works)
	case len(a.Equal) == 0:
		text = fmt.Sprintf("choose %s unless one kind of work matters most. Among the best in %s: %s.", a.Winner, works, list(parts))
	default:
		text = fmt.Sprintf("it depends on the work. Among the best in %s: %s.", works, list(parts))
	}
	for _, one := range here {
		for _, o := range one.Options {
			if x.kinds.isCopying(o.Subject) {
				return text + fmt.Sprintf(" %s does better in some, but %s.", o.Subject, o.GivesUp)
			}
		}
	}
	return text
}
