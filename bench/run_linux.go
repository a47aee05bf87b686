package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/driver"
)

// Run measures. It returns what it has measured also together with an error,
// for example when the context ends. When it returns, it has removed everything
// that it made. An error matches [ErrUnknown], [disk.ErrInUse],
// [disk.ErrNoSpace] or [driver.ErrUnsupported] when that is the cause.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	suites, err := o.suites()
	if err != nil {
		return nil, err
	}
	subjects, err := o.subjects()
	if err != nil {
		return nil, err
	}
	for _, kind := range o.FileSystems {
		if !slices.Contains(disk.FileSystems(), kind) {
			return nil, fmt.Errorf("%w: no disk of %q can be made; choose among %v", ErrUnknown, kind, disk.FileSystems())
		}
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: measuring takes root, to mount layers and to read the counters of disks", driver.ErrUnsupported)
	}
	if o.Before != nil {
		if err := o.goesOn(o.Before, machine()); err != nil {
			return nil, err
		}
	}
	scratch, err := disk.Open(o.Scratch)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	r := newRun(o, scratch, suites, subjects)
	err = r.all(ctx)
	r.finish(err == nil)
	return r.report, err
}

// A run is one call of Run.
type run struct {
	Options
	scratch  *disk.Scratch
	list     []Suite
	subjects []*Subject
	report   *Report
	begun    time.Time
	before   float64 // seconds of the earlier parts
	cpu      cpuTimes
	// done and total count cases on places, here those of this part of the run
	// alone.
	done, total int
	// until is when the time of the suite that is being measured is over; zero
	// without a limit.
	until time.Time
	// following is how many cases of the suite come after the one that is being
	// measured.
	following int
	// missed: the time did not suffice for a case.
	missed bool
}

func newRun(o Options, scratch *disk.Scratch, suites []Suite, subjects []*Subject) *run {
	r := &run{Options: o, scratch: scratch, list: suites, subjects: subjects, begun: time.Now(), cpu: readCPU()}
	r.report = o.Before
	if r.report == nil {
		r.report = &Report{Format: Format, Version: o.Version, Started: r.begun.UTC(), Quick: o.Quick, Asked: o.asked(), Machine: machine(), Places: []PlaceInfo{}, Subjects: []SubjectInfo{}, Results: []Result{}}
		r.report.Noise.Control = []float64{}
		r.report.Noise.LoadBefore = load()
		for _, s := range subjects {
			r.report.Subjects = append(r.report.Subjects, s.info())
		}
	}
	r.before = r.report.Seconds
	for _, place := range o.places() {
		for _, s := range suites {
			r.total += len(s.Cases) - r.known(place, s)
		}
	}
	return r
}

// known returns how many cases of a suite have results from before.
func (r *run) known(place string, s Suite) (n int) {
	for _, c := range s.Cases {
		if r.has(place, s, c) {
			n++
		}
	}
	return n
}

func (r *run) has(place string, s Suite, c Case) bool {
	name := Result{Suite: s.Name, Case: c.Name, Params: c.Params}.Name()
	return slices.ContainsFunc(r.report.Results, func(have Result) bool { return have.Place == place && have.Name() == name })
}

func (r *run) finish(complete bool) {
	r.report.Seconds = r.before + time.Since(r.begun).Seconds()
	r.report.Complete = complete && !r.missed
	r.report.Noise.LoadAfter = load()
	r.report.Noise.Steal = readCPU().stealSince(r.cpu)
}

func (r *run) all(ctx context.Context) error {
	for _, name := range r.places() {
		if err := r.place(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// place measures on one place. A file system that cannot be made here is left
// out, and the report says why.
func (r *run) place(ctx context.Context, name string) (err error) {
	left := 0
	for _, s := range r.list {
		left += len(s.Cases) - r.known(name, s)
	}
	if left == 0 {
		return nil
	}
	p, err := r.make(ctx, name)
	if errors.Is(err, driver.ErrUnsupported) && len(r.places()) > 1 && !errors.Is(err, disk.ErrNoSpace) {
		r.done += left
		r.report.Places = appendPlace(r.report.Places, PlaceInfo{Name: name, Device: "not measured: " + err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.scratch.Discard(p)) }()
	info := PlaceInfo{Name: p.Name, FileSystem: p.FileSystem, Options: p.Options, Device: p.Device, Shared: !p.Own, Reflink: p.Reflink}
	if info.Size, info.Free, err = p.Room(); err != nil {
		return err
	}
	r.report.Places = appendPlace(r.report.Places, info)
	for _, s := range r.list {
		if r.known(name, s) == len(s.Cases) {
			continue
		}
		if err := r.suite(ctx, p, s); err != nil {
			return fmt.Errorf("%s, suite %s: %w", name, s.Name, err)
		}
	}
	return nil
}

// appendPlace adds a place, or replaces what an earlier part of the run has
// said of it.
func appendPlace(all []PlaceInfo, p PlaceInfo) []PlaceInfo {
	all = slices.DeleteFunc(all, func(have PlaceInfo) bool { return have.Name == p.Name })
	return append(all, p)
}

func (r *run) make(ctx context.Context, name string) (*disk.Place, error) {
	free, err := r.scratch.Room()
	if err != nil {
		return nil, err
	}
	need := int64(leastRoom)
	if !r.Quick {
		need = leastRoomFull
	}
	if free < need {
		return nil, fmt.Errorf("%w in %s: %d MiB, and it takes %d", disk.ErrNoSpace, r.Scratch, free>>20, need>>20)
	}
	if len(r.FileSystems) == 0 {
		return r.scratch.Directory(name)
	}
	return r.scratch.Image(ctx, name, name, r.diskSize())
}

const (
	leastRoom     = 1 << 30
	leastRoomFull = 12 << 30
)

// suite measures the cases of a suite on a place.
func (r *run) suite(ctx context.Context, p *disk.Place, s Suite) (err error) {
	stages, reasons, err := r.stages(ctx, p, s)
	defer func() {
		for _, st := range stages {
			if st.Subject.Store == "" {
				err = errors.Join(err, st.close())
			}
		}
	}()
	if err != nil {
		return err
	}
	r.allot(len(s.Cases) - r.known(p.Name, s))
	for i, c := range s.Cases {
		if r.has(p.Name, s, c) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.following = len(s.Cases) - 1 - i
		if !r.until.IsZero() && time.Now().After(r.until) {
			r.missed = true
			r.done++
			continue
		}
		results, err := r.measure(ctx, p, s, c, stages)
		if err != nil {
			return err
		}
		for _, sub := range r.subjects {
			if reason := reasons[sub.Name]; reason != "" && (sub.Store == "" || c.Variants) {
				results = append(results, skipped(p, s, c, sub, reason))
			}
		}
		r.report.Results = append(r.report.Results, results...)
		r.done++
		if r.Save != nil {
			r.finish(false)
			if err := r.Save(r.report); err != nil {
				return err
			}
		}
	}
	return nil
}

// allot gives the next cases their part of the time that is left: where it does
// not suffice for all, each suite and each place has something nevertheless.
func (r *run) allot(cases int) {
	if limit := r.time(); limit > 0 {
		left := limit - time.Since(r.begun)
		r.until = time.Now().Add(left * time.Duration(cases) / time.Duration(max(r.total-r.done, 1)))
	}
}

// stages opens a store for each subject; reasons says why one has none.
func (r *run) stages(ctx context.Context, p *disk.Place, s Suite) (stages []*Stage, reasons map[string]string, err error) {
	reasons = map[string]string{}
	byName := map[string]*Stage{}
	for _, sub := range r.subjects {
		if err := ctx.Err(); err != nil {
			return stages, reasons, err
		}
		if !sub.in(s.Name) {
			continue
		}
		if sub.Store != "" {
			if st := byName[sub.Store]; st != nil {
				stages = append(stages, st.as(sub))
			} else {
				reasons[sub.Name] = reasons[sub.Store]
			}
			continue
		}
		st, err := openStage(ctx, sub, p, r.scratch)
		if err != nil {
			reasons[sub.Name] = err.Error()
			continue
		}
		byName[sub.Name] = st
		stages = append(stages, st)
	}
	return stages, reasons, nil
}

func skipped(p *disk.Place, s Suite, c Case, sub *Subject, reason string) Result {
	return Result{
		Suite: s.Name, Case: c.Name, Params: append(Params{}, c.Params...), Place: p.Name, Subject: sub.Name,
		Metrics: []Metric{}, Skipped: reason,
	}
}
