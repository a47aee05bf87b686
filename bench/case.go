package bench

import (
	"context"

	"github.com/layerkeep/layerkeep/bench/disk"
)

// A Suite is a group of cases with one question.
type Suite struct {
	Name  string
	About string
	Cases []Case
}

// A Case is one thing to measure.
type Case struct {
	// Name of the case in its suite, and the parameters that tell it from the others of
	// that name.
	Name   string
	Params Params
	// About is one line on what it shows.
	About string
	// Quick: it is part of a quick run.
	Quick bool
	// Variants: subjects with other mount options take part.
	Variants bool
	// Cannot returns why the case cannot be measured for a subject in a place, empty if it
	// can; nil for a case that always can.
	Cannot func(s *Subject, p *disk.Place) string
	// Once: the case is measured in one round, as it takes long or tells no time.
	Once bool
	// Times is how many times a case of the same name does something, such as 100
	// containers; 0 for a case that is like no other. Where one that does less took too long
	// for this one to end in time, this one is left out, see [LongestRound].
	Times int
	// Start prepares the case for one subject: what is the same for each round.
	Start func(ctx context.Context, st *Stage) (Trial, error)
}

// A Trial is a case that was prepared for one subject.
type Trial interface {
	// Round does the work once. It leaves the store as it found it.
	Round(ctx context.Context, r *Round) error
	// Stop undoes what Start did. It is called even after a failed round, with a context
	// that is not canceled.
	Stop(ctx context.Context) error
}

// A Round takes what one round has measured.
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

// Note says something in words about the result.
func (r *Round) Note(text string) { r.note = text }
