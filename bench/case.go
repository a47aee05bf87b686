package bench

import (
	"context"

	"github.com/layerkeep/layerkeep/bench/disk"
)

// A Suite is a group of cases that answer one question.
type Suite struct {
	Name  string
	About string
	Cases []Case
}

// A Case is one thing to measure.
type Case struct {
	// Name is the name of the case in its suite. Params distinguish it from
	// other cases of the same name.
	Name   string
	Params Params
	// About is one line on what the case shows.
	About string
	// Quick: the case is part of a quick run.
	Quick bool
	// Variants: subjects with other mount options take part.
	Variants bool
	// Cannot returns why the case cannot be measured for a subject in a place,
	// and "" when it can. nil: it always can.
	Cannot func(s *Subject, p *disk.Place) string
	// Once: the case is measured in one round, because it takes long or
	// measures no time.
	Once bool
	// Times is how many times the case repeats its operation, for example 100
	// for 100 containers. 0: no other case repeats the same operation. When a
	// case of the same name with a lower number took so long that this case
	// would exceed [LongestRound], this case is left out.
	Times int
	// Start prepares the case for one subject: everything that is the same for
	// each round.
	Start func(ctx context.Context, st *Stage) (Trial, error)
}

// A Trial is a case that was prepared for one subject.
type Trial interface {
	// Round does the work once. It leaves the store as it was.
	Round(ctx context.Context, r *Round) error
	// Stop undoes what Start did. It is called also after a failed round, with
	// a context that is not cancelled.
	Stop(ctx context.Context) error
}

// A Round collects what one round has measured.
type Round struct {
	metrics []Metric
	note    string
}

// Add adds a sample.
func (r *Round) Add(name, unit string, sample float64) {
	for i := range r.metrics {
		if r.metrics[i].Name == name {
			r.metrics[i].Samples = append(r.metrics[i].Samples, sample)
			return
		}
	}
	r.metrics = append(r.metrics, Metric{Name: name, Unit: unit, Samples: []float64{sample}})
}

// Note adds a remark in words to the result.
func (r *Round) Note(text string) { r.note = text }
