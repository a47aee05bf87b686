package storeservice

import (
	"sync"
	"time"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

// Import implements the call of that name.
func (s *Service) Import(stream storev1.Store_ImportServer) error {
	ctx, end := s.calls.begin(stream.Context())
	defer end()
	first, err := stream.Recv()
	if err != nil {
		return begun(err)
	}
	o := first.GetOptions()
	var mu sync.Mutex
	send := func(m *storev1.ImportResponse) error {
		mu.Lock()
		defer mu.Unlock()
		return stream.Send(m)
	}
	report := newReport(func(p []*storev1.Progress) error { return send(&storev1.ImportResponse{Progress: p}) })
	img, err := s.store.Import(ctx, image.Source{
		Kind: image.Kind(o.GetFormat()), Path: "-",
		Reader: newUpload(ctx, first.GetData(), func() ([]byte, error) {
			m, err := stream.Recv()
			return m.GetData(), err
		}),
		Packed: &image.Packed{Label: string(o.GetLabel()), Ref: string(o.GetRef()), Base: o.GetBase()},
	}, image.ImportOptions{
		Name: o.GetName(), Platform: o.GetPlatform(), Image: o.GetImage(), Recipes: o.GetRecipes(), Progress: report,
		Warn: func(layer int, path, message string) {
			_ = send(&storev1.ImportResponse{Warning: warning(layer, path, message)}) // who has gone is told nothing
		},
	})
	report.close()
	if err != nil {
		return err
	}
	return send(&storev1.ImportResponse{Image: storewire.FromImage(img)})
}

// Export implements the call of that name.
func (s *Service) Export(req *storev1.ExportRequest, stream storev1.Store_ExportServer) error {
	ctx, end := s.calls.begin(stream.Context())
	defer end()
	var mu sync.Mutex
	send := func(m *storev1.ExportResponse) error {
		mu.Lock()
		defer mu.Unlock()
		return stream.Send(m)
	}
	report := newReport(func(p []*storev1.Progress) error { return send(&storev1.ExportResponse{Progress: p}) })
	out := &download{send: func(data []byte) error { return send(&storev1.ExportResponse{Data: data}) }}
	exported, err := s.store.Export(ctx, req.GetSource(), out, image.ExportOptions{
		Name: req.GetName(), SourceDateEpoch: storewire.ToTime(req.GetSourceDateEpoch()), Progress: report,
	})
	report.close()
	if err != nil {
		return err
	}
	if err := out.flush(); err != nil {
		return err
	}
	return send(&storev1.ExportResponse{Exported: storewire.FromExported(exported)})
}

// reportEvery is how often a client is told how it goes.
const reportEvery = 100 * time.Millisecond

// A report is an image.Progress that tells a client from time to time, so that
// a client that does not listen keeps nobody waiting. What it keeps meanwhile
// does not grow with the bytes of an image, but with its layers.
type report struct {
	mu      sync.Mutex
	steps   []*storev1.Progress
	spooled int64
	read    map[int]int64

	send func([]*storev1.Progress) error
	stop chan struct{}
	done chan struct{}
}

func newReport(send func([]*storev1.Progress) error) *report {
	r := &report{read: map[int]int64{}, send: send, stop: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r
}

func (r *report) run() {
	defer close(r.done)
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.stop:
			_ = r.tell() // the call ends anyway
			return
		}
		if r.tell() != nil {
			return // the call will end on its own
		}
	}
}

// close tells the rest, and waits until it is told.
func (r *report) close() {
	close(r.stop)
	<-r.done
}

func (r *report) tell() error {
	r.mu.Lock()
	r.addSpooled()
	for i := range r.read {
		r.addRead(i)
	}
	steps := r.steps
	r.steps = nil
	r.mu.Unlock()
	if len(steps) == 0 {
		return nil
	}
	return r.send(steps)
}

func (r *report) addSpooled() {
	if r.spooled > 0 {
		r.steps = append(r.steps, storewire.Spooled(r.spooled))
		r.spooled = 0
	}
}

func (r *report) addRead(i int) {
	if n := r.read[i]; n > 0 {
		r.steps = append(r.steps, storewire.Advance(i, n))
	}
	delete(r.read, i)
}

// Spooled implements [image.Progress].
func (r *report) Spooled(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spooled += n
}

// Begin implements [image.Progress].
func (r *report) Begin(layers []image.ProgressLayer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addSpooled()
	r.steps = append(r.steps, storewire.Begin(layers))
}

// Layer implements [image.Progress].
func (r *report) Layer(i int, state image.LayerState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addRead(i) // in the order in which it happened
	r.steps = append(r.steps, storewire.LayerStep(i, state))
}

// Advance implements [image.Progress].
func (r *report) Advance(i int, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read[i] += n
}
