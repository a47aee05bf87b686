package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
)

// manyCases have several containers at the same time.
func manyCases() []Case {
	var cases []Case
	for _, n := range []int{1, 10, 100} {
		cases = append(cases, Case{
			Name: "start-at-once", Params: Params{{"containers", fmt.Sprint(n)}}, Quick: n == 10,
			About: "start that many containers of a small image at the same time", Cannot: takesContainers(n),
			Start: startAtOnce(n),
		})
	}
	for _, n := range []int{20, 1000} {
		cases = append(cases, Case{
			Name: "containers", Params: Params{{"containers", fmt.Sprint(n)}}, Quick: n == 20, Once: true,
			About:  "start that many containers of a small image one after another, until all of them are mounted",
			Cannot: takesContainers(n), Start: startMany(n),
		})
	}
	for _, files := range []int{2000, 20_000} {
		cases = append(cases, Case{
			Name: "poll", Params: Params{{"files", fmt.Sprint(files)}},
			About:  "ask for the usage of 40 idle containers, one of which has written that many files",
			Cannot: takesContainers(pollContainers), Start: startPoll(files),
		})
	}
	return cases
}

const (
	// The small image has imageFiles files of imageFile bytes, about 1 MiB
	// together.
	imageFiles = 200
	imageFile  = 5 << 10
)

// smallImage returns the layer that many containers are started from.
func smallImage(ctx context.Context, st *Stage) (string, error) {
	return st.Base(ctx, "small image", func(l *synth.Layer) { l.Files("files", imageFiles, imageFile) })
}

// takesContainers leaves out subjects whose containers have no room in a place.
func takesContainers(n int) func(*Subject, *disk.Place) string {
	return func(s *Subject, p *disk.Place) string {
		one := need{bytes: 128 << 10, inodes: 16} // a subvolume of btrfs takes most
		if s.Copies {
			one = need{bytes: 2 * imageFiles * imageFile, inodes: 2 * imageFiles}
		}
		return one.times(int64(n)).missing(p)
	}
}

// A togetherTrial starts containers at the same time.
type togetherTrial struct {
	st   *Stage
	base string
	n    int
}

func startAtOnce(n int) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		base, err := smallImage(ctx, st)
		if err != nil {
			return nil, err
		}
		return togetherTrial{st, base, n}, nil
	}
}

// Round adds "ready", the time until all containers are mounted, and "each",
// that divided by their number. "stop" is the time until all are unmounted and
// removed, and their space is free, with several of them in work at the same
// time.
func (t togetherTrial) Round(ctx context.Context, r *Round) (err error) {
	all, err := t.st.reserveAll(t.n)
	defer func() { err = errors.Join(err, t.st.StopAll(ctx, all)) }()
	if err != nil {
		return err
	}
	ready, err := timed(func() error { return startReserved(ctx, all, []string{t.base}) })
	if err != nil {
		return err
	}
	stop, err := timed(func() error { return t.st.StopAll(ctx, all) })
	if err != nil {
		return err
	}
	r.Add("ready", Seconds, ready)
	r.Add("each", Seconds, ready/float64(t.n))
	r.Add("stop", Seconds, stop)
	return nil
}

func (t togetherTrial) Stop(context.Context) error { return nil }

// A manyTrial starts containers one after another.
type manyTrial struct {
	st   *Stage
	base string
	n    int
}

func startMany(n int) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		base, err := smallImage(ctx, st)
		if err != nil {
			return nil, err
		}
		return manyTrial{st, base, n}, nil
	}
}

// Round adds "start", the time that each container took to start, what each of
// them takes up while all of them are mounted, and "stop", the time that it
// took to stop all of them, with several in work at the same time, divided by
// their number. Where the machine cannot have all of them mounted, it measures
// those that it had.
func (t manyTrial) Round(ctx context.Context, r *Round) (err error) {
	before, err := t.st.read(ctx, "")
	if err != nil {
		return err
	}
	var all []*Container
	defer func() { err = errors.Join(err, t.st.StopAll(ctx, all)) }()
	for len(all) < t.n {
		if err := ctx.Err(); err != nil {
			return err
		}
		begun := time.Now()
		c, err := t.st.Start(ctx, t.base)
		if err != nil {
			if len(all) == 0 || ctx.Err() != nil {
				return err
			}
			r.Note(fmt.Sprintf("only %d of %d containers could be mounted at the same time: %v", len(all), t.n, err))
			break
		}
		r.Add("start", Seconds, time.Since(begun).Seconds())
		all = append(all, c)
	}
	if err := t.st.addStarted(ctx, r, before, all); err != nil {
		return err
	}
	stop, err := timed(func() error { return t.st.StopAll(ctx, all) })
	if err != nil {
		return err
	}
	r.Add("stop", Seconds, stop/float64(len(all)))
	return nil
}

func (t manyTrial) Stop(context.Context) error { return nil }

const pollContainers = 40

// A pollTrial asks for the usage of containers, as the agent of a node does
// every few seconds.
type pollTrial struct {
	st  *Stage
	all []*Container
}

func startPoll(files int) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		base, err := smallImage(ctx, st)
		if err != nil {
			return nil, err
		}
		all, err := st.StartAll(ctx, pollContainers, base)
		if err != nil {
			return nil, err
		}
		if err := writeFiles(ctx, all[0], files); err != nil {
			return nil, errors.Join(err, st.StopAll(ctx, all))
		}
		return pollTrial{st, all}, nil
	}
}

// writeFiles writes small files in a container, as many in each directory as a
// layer of package synth has.
func writeFiles(ctx context.Context, c *Container, n int) error {
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := c.Path(synth.FileName("written", i))
		if i%synth.PerDir == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(path, []byte("written by a container"), 0o600); err != nil {
			return err
		}
	}
	return c.stage.Place.Sync()
}

// Round adds "poll", the time to ask for the usage of all containers once.
func (t pollTrial) Round(ctx context.Context, r *Round) error {
	took, err := timed(func() error {
		for _, c := range t.all {
			if _, err := t.st.Store.Usage(ctx, c.Layer); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.Add("poll", Seconds, took)
	}
	return err
}

func (t pollTrial) Stop(ctx context.Context) error { return t.st.StopAll(ctx, t.all) }
