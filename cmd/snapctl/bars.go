package main

import (
	"context"
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/layerkeep/layerkeep/image"
)

const barWidth = 48

// showBars reports whether progress is shown: on a terminal only.
func (a *app) showBars() bool { return !a.global.quiet && isTerminal(a.Err) }

// newBars starts drawing on standard error, or returns nil where nothing is to
// be drawn. What is logged meanwhile goes above the bars.
func (a *app) newBars(ctx context.Context) *mpb.Progress {
	if !a.showBars() {
		return nil
	}
	p := mpb.NewWithContext(ctx, mpb.WithOutput(a.Err), mpb.WithWidth(barWidth), mpb.WithAutoRefresh())
	a.logOut.redirect(p)
	return p
}

// stopBars wipes the bars and waits until nothing more is drawn.
func (a *app) stopBars(p *mpb.Progress, bars ...*mpb.Bar) {
	for _, b := range bars {
		if b != nil {
			b.Abort(true)
		}
	}
	a.logOut.redirect(a.Err)
	p.Wait()
}

// A swapWriter is a writer whose destination can change.
type swapWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *swapWriter) redirect(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = w
}

func (s *swapWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func addByteBar(p *mpb.Progress, name string, total int64) *mpb.Bar {
	if total <= 0 { // not known: count only
		return p.New(0, mpb.NopStyle(),
			mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR), decor.CurrentKibiByte("% .1f")),
			mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f")))
	}
	return p.AddBar(total,
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR), decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace)))
}

// A byteBar shows how many bytes went by. Its zero value shows nothing.
type byteBar struct {
	app *app
	p   *mpb.Progress
	bar *mpb.Bar
}

// newByteBar starts a bar; total is 0 when it is not known.
func (a *app) newByteBar(ctx context.Context, name string, total int64) byteBar {
	p := a.newBars(ctx)
	if p == nil {
		return byteBar{}
	}
	return byteBar{app: a, p: p, bar: addByteBar(p, name, total)}
}

func (b byteBar) reader(r io.Reader) io.Reader {
	if b.bar == nil {
		return r
	}
	return io.TeeReader(r, barWriter{b.bar})
}

func (b byteBar) writer(w io.Writer) io.Writer {
	if b.bar == nil {
		return w
	}
	return io.MultiWriter(w, barWriter{b.bar})
}

func (b byteBar) close() {
	if b.bar != nil {
		b.app.stopBars(b.p, b.bar)
	}
}

// barWriter moves a bar by what is written to it.
type barWriter struct{ bar *mpb.Bar }

func (w barWriter) Write(p []byte) (int, error) {
	w.bar.IncrBy(len(p))
	return len(p), nil
}

// layerBars show an import or export: one bar of layers, one of bytes.
type layerBars struct {
	app *app
	p   *mpb.Progress

	mu                    sync.Mutex
	layers, bytes, spools *mpb.Bar
	read                  []int64
}

// newLayerBars returns what tells a terminal how an import goes, and nobody
// where standard error is none.
func newLayerBars(ctx context.Context, a *app) interface {
	image.Progress
	close()
} {
	p := a.newBars(ctx)
	if p == nil {
		return noBars{}
	}
	return &layerBars{app: a, p: p}
}

// noBars is the progress of what has no terminal.
type noBars struct{ image.NoProgress }

func (noBars) close() {}

// Spooled implements [image.Progress].
func (b *layerBars) Spooled(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spools == nil {
		b.spools = addByteBar(b.p, "reading", 0)
	}
	b.spools.IncrInt64(n)
}

// Begin implements [image.Progress].
func (b *layerBars) Begin(layers []image.ProgressLayer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spools != nil {
		b.spools.Abort(true)
	}
	var total int64
	for _, l := range layers {
		total += l.Size
	}
	b.read = make([]int64, len(layers))
	b.layers = b.p.AddBar(int64(len(layers)),
		mpb.PrependDecorators(decor.Name("layers", decor.WCSyncSpaceR), decor.CountersNoUnit("%d / %d", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace)))
	b.bytes = addByteBar(b.p, "bytes", total)
}

// Layer implements [image.Progress].
func (b *layerBars) Layer(i int, state image.LayerState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.layers == nil || i < 0 || i >= len(b.read) {
		return
	}
	switch state {
	case image.LayerExists, image.LayerDone:
		b.layers.Increment()
	case image.LayerRetry:
		b.bytes.IncrInt64(-b.read[i])
		b.read[i] = 0
	default:
	}
}

// Advance implements [image.Progress].
func (b *layerBars) Advance(i int, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bytes == nil || i < 0 || i >= len(b.read) {
		return
	}
	b.read[i] += n
	b.bytes.IncrInt64(n)
}

func (b *layerBars) close() {
	b.mu.Lock()
	bars := []*mpb.Bar{b.spools, b.layers, b.bytes}
	b.mu.Unlock()
	b.app.stopBars(b.p, bars...)
}
