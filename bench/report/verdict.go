package report

import (
	"cmp"
	"slices"

	"github.com/layerkeep/layerkeep/bench"
)

// An Advice says which driver suits one kind of work in one place.
type Advice struct {
	Place string `json:"place"`
	// Work is the kind of work: "first writes to small files".
	Work string `json:"work"`
	// Cases are the names of the cases that were compared, in all of which each
	// subject of Standings was measured.
	Cases []string `json:"cases"`
	// Winner is the driver to choose. It is never a variant, a snapshotter of
	// another program or the bare file system.
	Winner string `json:"winner"`
	// Equal are the other drivers that do not differ from the winner beyond the
	// noise.
	Equal []string `json:"equal,omitempty"`
	// RunnerUp is the best driver that the winner beats, and Times how many times
	// what the winner needs it needs; empty and 0 if there is none.
	RunnerUp string  `json:"runner_up,omitempty"`
	Times    float64 `json:"times,omitempty"`
	// Unknown are drivers that have too few samples to be compared. Without Equal
	// and RunnerUp, the winner is a guess.
	Unknown []string `json:"unknown,omitempty"`
	// Cost says in words what the work costs with the winner, for one of the cases.
	Cost string `json:"cost,omitempty"`
	// Options beat the winner and give something up for that.
	Options []Option `json:"options,omitempty"`
	// Standings has all that was compared, the best first.
	Standings []Standing `json:"standings"`
	// Lead says in words who wins, and Sentence says all of it: it begins with
	// Lead.
	Lead     string `json:"lead"`
	Sentence string `json:"sentence"`
}

// isGuess reports an advice whose winner was compared with nothing.
func (a Advice) isGuess() bool {
	return len(a.Unknown) > 0 && len(a.Equal) == 0 && a.RunnerUp == ""
}

// An Option is better than the winner at a price.
type Option struct {
	Subject string `json:"subject"`
	// Times is how many times what it needs the winner needs.
	Times float64 `json:"times"`
	// GivesUp is the price in words.
	GivesUp string `json:"gives_up"`
}

// A Standing is how one subject did.
type Standing struct {
	Subject string `json:"subject"`
	// Times is how many times what the winner needs it needs: the geometric mean of
	// the ratios of all cases.
	Times float64 `json:"times"`
	// Differs: the difference from the winner is beyond the noise.
	Differs bool `json:"differs"`
	// TooFew: there are too few samples to tell.
	TooFew bool `json:"too_few,omitempty"`
}

// workOverall is the kind of work of the advice that sums up a place.
const workOverall = "in short"

// Verdict returns an advice for each kind of work in each place where something
// was measured, by rules that the package's documentation and the sentences
// state. The first advice of each place, for the work "in short", counts how
// often each driver is among the best.
func Verdict(r *bench.Report) []Advice { return verdictOf(newIndex(r)) }

func verdictOf(x *index) []Advice {
	var all []Advice
	for _, place := range x.places {
		var here []Advice
		for _, c := range x.contests(place) {
			here = append(here, x.advise(c))
		}
		if len(here) > 0 {
			all = append(append(all, x.overall(place, here)), here...)
		}
	}
	return all
}

// advise applies the rules to one contest.
func (x *index) advise(c *contest) Advice {
	drivers := c.drivers()
	winner := c.best(drivers)
	a := Advice{Place: c.place, Work: c.work, Winner: winner}
	for _, one := range c.cases {
		a.Cases = append(a.Cases, one.name)
	}
	var beaten []string
	for _, s := range drivers {
		switch {
		case s == winner:
		case c.beats(winner, s):
			beaten = append(beaten, s)
		case c.tooFew(winner, s):
			a.Unknown = append(a.Unknown, s)
		default:
			a.Equal = append(a.Equal, s)
		}
	}
	if a.RunnerUp = c.best(beaten); a.RunnerUp != "" {
		a.Times = c.times(a.RunnerUp, winner)
	}
	for _, s := range c.subjects {
		a.Standings = append(a.Standings, Standing{
			Subject: s, Times: c.times(s, winner),
			Differs: s != winner && (c.beats(winner, s) || c.beats(s, winner)),
			TooFew:  s != winner && c.tooFew(winner, s),
		})
	}
	slices.SortStableFunc(a.Standings, func(p, q Standing) int { return cmp.Compare(p.Times, q.Times) })
	a.Options = x.options(c, winner)
	a.Cost = x.cost(c, winner)
	a.Lead = lead(c, a)
	a.Sentence = x.sentence(c, a)
	return a
}

// options are the simplest variant among the best ones, and the best driver
// that copies the image beforehand, where they beat the winner.
func (x *index) options(c *contest, winner string) []Option {
	var variants, copying []string
	for _, s := range c.subjects {
		switch {
		case !x.kinds.isVariant(s) && !x.kinds.isChoice(s) || !c.beats(s, winner):
		case x.kinds.isVariant(s):
			variants = append(variants, s)
		case x.kinds.isCopying(s):
			copying = append(copying, s)
		}
	}
	var found []Option
	if s := c.simplest(variants); s != "" {
		found = append(found, Option{s, c.times(winner, s), givesUp(s)})
	}
	if s := c.best(copying); s != "" {
		found = append(found, Option{s, c.times(winner, s), x.copyPrice(c.place, s, winner)})
	}
	return found
}

// simplest is the one with fewest options among those that the best does not
// beat.
func (c *contest) simplest(variants []string) string {
	best := c.best(variants)
	simple := best
	for _, s := range variants {
		if optionCount(s) < optionCount(simple) && !c.beats(best, s) {
			simple = s
		}
	}
	return simple
}

// overall counts who is among the best in how many kinds of work.
func (x *index) overall(place string, here []Advice) Advice {
	wins := map[string]int{}
	var names []string
	for _, a := range here {
		if a.isGuess() {
			continue
		}
		for _, s := range append([]string{a.Winner}, a.Equal...) {
			wins[s]++
			names = appendNew(names, s)
		}
	}
	slices.SortStableFunc(names, func(p, q string) int { return cmp.Compare(wins[q], wins[p]) })
	a := Advice{Place: place, Work: workOverall}
	if len(names) == 0 {
		a.Winner, a.Lead = here[0].Winner, "there are too few samples to tell the drivers apart."
		a.Sentence = a.Lead
		return a
	}
	a.Winner = names[0]
	for _, s := range names[1:] {
		if wins[s] == wins[a.Winner] {
			a.Equal = append(a.Equal, s)
		}
	}
	a.Sentence = x.overallSentence(here, names, wins, a)
	a.Lead = a.Sentence
	return a
}
