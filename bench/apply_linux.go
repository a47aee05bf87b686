package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
)

// applyCases unpack layers.
func applyCases() []Case {
	var cases []Case
	for _, files := range []int{100, 1000, 10_000} {
		cases = append(cases, Case{
			Name: "apply", Params: Params{{"files", fmt.Sprint(files)}}, Quick: files == 1000,
			About: "unpack a layer of that many files of 4 KiB and seal it, so that it survives a power cut",
			Start: startApply(int64(files)*4096, func(l *synth.Layer) { l.Files("files", files, 4096) }),
		})
	}
	for _, size := range []int64{1 << 20, 64 << 20, 512 << 20} {
		cases = append(cases, Case{
			Name: "apply", Params: Params{{"bytes", sizeText(size)}}, Cannot: takes(need{bytes: 3 * size}),
			About: "unpack a layer of one file of that size and seal it, so that it survives a power cut",
			Start: startApply(size, func(l *synth.Layer) { l.File("file", size) }),
		})
	}
	return cases
}

// largestInMemory is the size of the files of a layer that is kept in memory. A
// larger one is made while it is read, which takes some time of a processor,
// with each subject the same.
const largestInMemory = 64 << 20

// An applyLayer is the layer of a case. Its subjects share it.
type applyLayer struct {
	size int64
	fill func(*synth.Layer)
	// tar is the layer while it has users, nil for one that is too large.
	tar   []byte
	users int
}

func (l *applyLayer) open() io.ReadCloser {
	if l.tar == nil {
		return synth.Stream(l.fill)
	}
	return io.NopCloser(bytes.NewReader(l.tar))
}

func (l *applyLayer) use() error {
	if l.users == 0 && l.size <= largestInMemory {
		var b bytes.Buffer
		if err := synth.Write(&b, l.fill); err != nil {
			return err
		}
		l.tar = b.Bytes()
	}
	l.users++
	return nil
}

func (l *applyLayer) release() {
	if l.users--; l.users == 0 {
		l.tar = nil
	}
}

// An applyTrial unpacks a layer.
type applyTrial struct {
	st    *Stage
	layer *applyLayer
}

func startApply(size int64, fill func(*synth.Layer)) func(context.Context, *Stage) (Trial, error) {
	l := &applyLayer{size: size, fill: fill}
	return func(_ context.Context, st *Stage) (Trial, error) {
		if err := l.use(); err != nil {
			return nil, err
		}
		return applyTrial{st, l}, nil
	}
}

// Round adds "durable", the time until the layer is unpacked and sealed, which
// makes it durable; with plain directories it is unpacked and synced.
// "unpacked" is the part until it is unpacked.
func (t applyTrial) Round(ctx context.Context, r *Round) (err error) {
	before, err := t.st.read(ctx, "")
	if err != nil {
		return err
	}
	name := t.st.Name()
	if err := t.st.Store.Create(ctx, name, nil); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.st.Forget(ctx, name)) }()
	layer := t.layer.open()
	defer layer.Close()
	unpacked, err := timed(func() error { return t.st.Store.Apply(ctx, name, layer) })
	if err != nil {
		return err
	}
	sealed, err := timed(func() error { return t.st.seal(ctx, name) })
	if err != nil {
		return err
	}
	r.Add("durable", Seconds, unpacked+sealed)
	r.Add("unpacked", Seconds, unpacked)
	return t.st.addSince(ctx, r, before, name, 1)
}

func (t applyTrial) Stop(context.Context) error {
	t.layer.release()
	return nil
}

// diffFiles is how many files the image has whose changes are written.
const diffFiles = 10_000

// diffCases write the changes of a layer.
func diffCases() []Case {
	var cases []Case
	for _, changed := range []int{1, 100, 1000} {
		cases = append(cases, Case{
			Name: "diff", Params: Params{{"changed", fmt.Sprint(changed)}},
			About: "write the changes of a layer with that many changed files, over an image of 10,000 files of 1 KiB",
			Cannot: func(s *Subject, _ *disk.Place) string {
				if s.Bare {
					return "plain directories have no changes to write"
				}
				return ""
			},
			Start: startDiff(changed),
		})
	}
	return cases
}

// A diffTrial writes the changes of a layer that is not mounted.
type diffTrial struct {
	st *Stage
	c  *Container
}

func startDiff(changed int) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		base, err := st.Base(ctx, "diff", func(l *synth.Layer) { l.Files("files", diffFiles, 1024) })
		if err != nil {
			return nil, err
		}
		c, err := st.Start(ctx, base)
		if err != nil {
			return nil, err
		}
		for i := 0; i < changed && err == nil; i++ {
			err = errors.Join(ctx.Err(), appendOne.do(c.Path(synth.FileName("files", i*(diffFiles/changed)))))
		}
		if err == nil {
			err = errors.Join(c.Unmount(), st.Place.Sync())
		}
		if err != nil {
			return nil, errors.Join(err, c.Stop(ctx))
		}
		return diffTrial{st, c}, nil
	}
}

// Round adds "diff", the time that it takes to write the changes, and "size",
// the bytes of them as a layer.
func (t diffTrial) Round(ctx context.Context, r *Round) error {
	var size counter
	begun := time.Now()
	if err := t.st.Store.Diff(ctx, t.c.Layer, &size); err != nil {
		return err
	}
	r.Add("diff", Seconds, time.Since(begun).Seconds())
	r.Add("size", Bytes, float64(size))
	return nil
}

func (t diffTrial) Stop(ctx context.Context) error { return t.c.Stop(ctx) }

// A counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
