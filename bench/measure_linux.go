package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/perf/benchmath"

	"github.com/layerkeep/layerkeep/bench/disk"
)

const (
	fewestRounds = 5
	fewestQuick  = 3
	mostRounds   = 50
	// precise is how far from the median the ends of its confidence interval may
	// be, for the case to need no more rounds.
	precise    = 0.03
	confidence = 0.95
)

// LongestRound is the longest round that a subject may need for a case,
// estimated before the case starts. A case that would take longer is left out
// for this subject: some subjects copy every file and wait for the disk after
// each, which takes an hour where others take seconds.
const LongestRound = 10 * time.Minute

// A running is a case that is being measured for one subject.
type running struct {
	stage  *Stage
	trial  Trial
	result Result
}

// measure measures a case for all subjects, in turns.
func (r *run) measure(ctx context.Context, p *disk.Place, s Suite, c Case, stages []*Stage) (results []Result, err error) {
	what := p.Name + " " + Result{Suite: s.Name, Case: c.Name, Params: c.Params}.Name()
	r.tell(what, 0)
	var all []*running
	for _, st := range stages {
		if st.Subject.Store != "" && !c.Variants {
			continue
		}
		one, err := r.start(ctx, p, s, c, st)
		all = append(all, one)
		if err != nil {
			return nil, errors.Join(err, stop(ctx, all))
		}
	}
	err = r.rounds(ctx, what, c, all)
	if err = errors.Join(err, stop(ctx, all)); err != nil {
		return nil, err
	}
	for _, one := range all {
		results = append(results, one.result)
	}
	return results, nil
}

// start prepares a case for one subject. An error is one of the run, not of the
// subject.
func (r *run) start(ctx context.Context, p *disk.Place, s Suite, c Case, st *Stage) (*running, error) {
	one := &running{stage: st, result: skipped(p, s, c, st.Subject, "")}
	if c.Cannot != nil {
		one.result.Skipped = c.Cannot(st.Subject, p)
	}
	if one.result.Skipped == "" {
		one.result.Skipped = r.tooLong(one.result, s, c)
	}
	if one.result.Skipped != "" {
		return one, nil
	}
	trial, err := c.Start(ctx, st)
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
		if trial == nil {
			return one, err
		}
	}
	if err != nil && ctx.Err() == nil {
		one.result.Skipped = err.Error()
		return one, nil
	}
	one.trial = trial
	return one, err
}

// tooLong says why a case is left out for the subject of a result, of which a
// case that does less has told that it would take too long; empty if it is not.
func (r *run) tooLong(one Result, s Suite, c Case) string {
	for _, less := range s.Cases {
		if c.Times == 0 || less.Name != c.Name || less.Times == 0 || less.Times >= c.Times {
			continue
		}
		for _, have := range r.report.Results {
			if have.Place != one.Place || have.Subject != one.Subject || have.Name() != (Result{Suite: s.Name, Case: less.Name, Params: less.Params}).Name() {
				continue
			}
			took := time.Duration(have.Seconds * float64(time.Second))
			if would := took * time.Duration(c.Times) / time.Duration(less.Times); would > LongestRound {
				return fmt.Sprintf("it would take %s: %s took %s, and at most %s are spent on a round of one subject",
					would.Round(time.Minute), have.Params.text(), took.Round(time.Second), LongestRound)
			}
		}
	}
	return ""
}

func stop(ctx context.Context, all []*running) (err error) {
	for _, one := range all {
		if one.trial != nil {
			err = errors.Join(err, one.trial.Stop(context.WithoutCancel(ctx)))
			one.trial = nil
		}
	}
	return err
}

// rounds does round after round, each subject in turn, until what was measured
// is precise enough or the time for it is over. The first round is a warm-up
// and counts for nothing.
func (r *run) rounds(ctx context.Context, what string, c Case, all []*running) error {
	begun, most, fewest := time.Now(), mostRounds, fewestRounds
	if r.Quick {
		fewest = fewestQuick
	}
	first := 0
	if c.Once {
		first, most, fewest = 1, 1, 1
	}
	share := r.share()
	for n := first; n <= most; n++ {
		r.tell(what, n)
		lives, start := false, time.Now()
		for _, one := range all {
			if one.trial == nil || one.result.Skipped != "" {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if !r.round(ctx, one, n > 0) && ctx.Err() != nil {
				return ctx.Err()
			}
			lives = lives || one.result.Skipped == ""
		}
		fewest = fewestFor(time.Since(start), fewest)
		late := !r.until.IsZero() && time.Now().After(r.until)
		if !lives || n >= 1 && late || n >= fewest && (time.Since(begun) > share || isPrecise(all)) {
			break
		}
	}
	return nil
}

// fewestFor returns the least number of rounds for a case of which one round of
// all subjects took that long: a run over three file systems must end some day.
// The report shows the number beside each result.
func fewestFor(round time.Duration, fewest int) int {
	switch {
	case round >= 3*time.Minute:
		return 1
	case round >= time.Minute:
		return min(fewest, fewestQuick)
	default:
		return fewest
	}
}

// round does one round for one subject. A subject whose round fails has no
// result.
func (r *run) round(ctx context.Context, one *running, counts bool) (ok bool) {
	if counts {
		r.control()
	}
	var got Round
	begun := time.Now()
	if err := one.trial.Round(ctx, &got); err != nil {
		one.result.Skipped, one.result.Metrics, one.result.Rounds, one.result.Seconds = err.Error(), []Metric{}, 0, 0
		return false
	}
	if !counts {
		return true
	}
	one.result.Rounds++
	one.result.Seconds += (time.Since(begun).Seconds() - one.result.Seconds) / float64(one.result.Rounds)
	one.result.Note = got.note
	for _, m := range got.metrics {
		if have := one.result.Metric(m.Name); have != nil {
			have.Samples = append(have.Samples, m.Samples...)
		} else {
			one.result.Metrics = append(one.result.Metrics, m)
		}
	}
	return true
}

// share is how long the rounds of a case may take.
func (r *run) share() time.Duration {
	if r.until.IsZero() {
		return r.caseTime()
	}
	// Half of it: preparing a case takes time, too.
	return max(time.Until(r.until)/time.Duration(2*(r.following+1)), 0)
}

// isPrecise reports whether the first metric of each subject is known well
// enough.
func isPrecise(all []*running) bool {
	for _, one := range all {
		if one.result.Skipped != "" || len(one.result.Metrics) == 0 {
			continue
		}
		sum := benchmath.AssumeNothing.Summary(benchmath.NewSample(append([]float64(nil), one.result.Metrics[0].Samples...), &benchmath.DefaultThresholds), confidence)
		if sum.Hi-sum.Lo > 2*precise*sum.Center {
			return false
		}
	}
	return true
}

// controlWork is hashed each time for [Noise].
var controlWork = make([]byte, 4<<20)

// control does the work that shows how steady the machine is.
func (r *run) control() {
	begun := time.Now()
	_ = sha256.Sum256(controlWork)
	r.report.Noise.Control = append(r.report.Noise.Control, time.Since(begun).Seconds())
}

func (r *run) tell(what string, round int) {
	if r.Progress == nil {
		return
	}
	p := Progress{Done: r.done, Total: r.total, What: what, Round: round}
	spent := time.Since(r.begun)
	if r.done > 0 {
		p.Left = spent / time.Duration(r.done) * time.Duration(r.total-r.done)
	}
	if limit := r.time(); limit > 0 && (p.Left == 0 || p.Left > limit-spent) {
		p.Left = max(limit-spent, 0)
	}
	r.Progress(p)
}
