package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
	"github.com/layerkeep/layerkeep/driver"
)

// lifeCycleSuite measures what is done with layers and containers as a whole.
func lifeCycleSuite() Suite {
	s := Suite{Name: "life-cycle", About: "layers and containers from the first to the last: unpacking, starting, committing, removing, one or many of them"}
	for _, depth := range []int{1, 10, 50, 128, 500} {
		s.Cases = append(s.Cases, Case{
			Name: "life", Params: Params{{"layers", fmt.Sprint(depth)}}, Cannot: stacks,
			About: "prepare, mount, unmount, commit and remove a container over that many small layers",
			Start: startLifeOverLayers(depth),
		})
	}
	for _, files := range []int{100, 1000, 20_000} {
		s.Cases = append(s.Cases, Case{
			Name: "life", Params: Params{{"files", fmt.Sprint(files)}}, Quick: files == 100,
			About: "prepare, mount, unmount, commit and remove a container over a layer of that many files",
			Start: startLifeOverFiles(files),
		})
	}
	s.Cases = append(s.Cases, applyCases()...)
	s.Cases = append(s.Cases, diffCases()...)
	s.Cases = append(s.Cases, removeCases()...)
	s.Cases = append(s.Cases, manyCases()...)
	return s
}

// A need is what a case takes up on a place.
type need struct{ bytes, inodes int64 }

// times is the need of n things.
func (n need) times(factor int64) need { return need{n.bytes * factor, n.inodes * factor} }

// inMemory is how much a case may take up on a file system in memory.
const inMemory = 256 << 20

// missing returns why a place has no room for it, empty if it has.
func (n need) missing(p *disk.Place) string {
	if p.FileSystem == disk.Tmpfs && n.bytes > inMemory {
		return fmt.Sprintf("it takes %d MiB, and no more than %d MiB are used in memory", n.bytes>>20, inMemory>>20)
	}
	_, free, err := p.Room()
	if err != nil {
		return err.Error()
	}
	if n.bytes > free {
		return fmt.Sprintf("it takes up to %d MiB, and %d MiB are free", n.bytes>>20, free>>20)
	}
	inodes, counts, err := p.FreeInodes()
	if err != nil {
		return err.Error()
	}
	if counts && n.inodes > inodes {
		return fmt.Sprintf("it takes up to %d inodes, and %d are free", n.inodes, inodes)
	}
	return ""
}

// takes leaves out places that have no room for what a case needs for any
// subject.
func takes(n need) func(*Subject, *disk.Place) string {
	return func(_ *Subject, p *disk.Place) string { return n.missing(p) }
}

// A lifeTrial leads some containers through their life.
type lifeTrial struct {
	st      *Stage
	parents []string
	n       int
}

func startLifeOverLayers(depth int) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		parents, err := st.Stack(ctx, "life", depth, func(l *synth.Layer) { l.Text("layer-0000", "x") })
		if err != nil {
			return nil, err
		}
		return lifeTrial{st, parents, 4}, nil
	}
}

func startLifeOverFiles(files int) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		base, err := st.Base(ctx, fmt.Sprint("life over ", files), func(l *synth.Layer) { l.Files("files", files, 1024) })
		if err != nil {
			return nil, err
		}
		t := lifeTrial{st, []string{base}, 4}
		if files >= 1000 && st.Subject.Copies {
			t.n = 1 // it copies all of the files each time
		}
		return t, nil
	}
}

// Round adds the seconds of each step of each container. The main metric is
// "start", which is "prepare" and "mount" together: a user waits for it. All
// steps are metrics of one case because each needs those before it. What a
// container takes up is counted while all of them are mounted and nobody has
// written to them. Then each gets one small file, so that there is something to
// commit. "commit" is sealing, which makes the layer durable.
func (t lifeTrial) Round(ctx context.Context, r *Round) (err error) {
	all, err := t.st.reserveAll(t.n)
	defer func() { err = errors.Join(err, t.st.StopAll(ctx, all)) }()
	if err != nil {
		return err
	}
	before, err := t.st.read(ctx, "")
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := t.begin(ctx, c, r); err != nil {
			return err
		}
	}
	if err := t.st.addStarted(ctx, r, before, all); err != nil {
		return err
	}
	for _, c := range all {
		if err := t.end(ctx, c, r); err != nil {
			return err
		}
	}
	return nil
}

func (t lifeTrial) begin(ctx context.Context, c *Container, r *Round) error {
	prepare, err := timed(func() error { return c.create(ctx, t.parents) })
	if err != nil {
		return err
	}
	mount, err := timed(func() error { return c.mount(ctx) })
	if err != nil {
		return err
	}
	r.Add("start", Seconds, prepare+mount)
	r.Add("prepare", Seconds, prepare)
	r.Add("mount", Seconds, mount)
	return nil
}

func (t lifeTrial) end(ctx context.Context, c *Container, r *Round) error {
	if err := os.WriteFile(c.Path("written"), []byte("by the container"), 0o600); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"unmount", c.Unmount},
		{"commit", func() error { return t.st.seal(ctx, c.Layer) }},
		{"remove", func() error { return c.remove(ctx) }},
	} {
		took, err := timed(step.do)
		if errors.Is(err, driver.ErrTooManyLayers) {
			r.Note(fmt.Sprintf("%s: a container over so many layers can be used, but %v", step.name, err))
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		r.Add(step.name, Seconds, took)
	}
	return nil
}

func (t lifeTrial) Stop(context.Context) error { return nil }

// timed returns how many seconds something took.
func timed(do func() error) (float64, error) {
	begun := time.Now()
	err := do()
	return time.Since(begun).Seconds(), err
}

// addStarted adds what each of some containers takes up that were started
// since.
func (st *Stage) addStarted(ctx context.Context, r *Round, before reading, all []*Container) error {
	if err := st.addSince(ctx, r, before, "", len(all)); err != nil || st.Place.CountsInodes() {
		return err
	}
	var inodes int64
	for _, c := range all {
		u, err := st.Store.Usage(ctx, c.Layer)
		if err != nil {
			return err
		}
		inodes += u.Inodes
	}
	r.Add("inodes", Inodes, float64(inodes)/float64(len(all)))
	return nil
}

// seal makes a layer durable: sealed, or with plain directories written to the
// device.
func (st *Stage) seal(ctx context.Context, name string) error {
	if st.Subject.Bare {
		return st.Place.Sync()
	}
	return st.Store.Seal(ctx, name)
}
