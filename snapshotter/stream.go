package snapshotter

import (
	"context"
	"errors"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// streamBatch is the number of rows that one transaction reads.
const streamBatch = 256

// errBatch ends a transaction when the batch is full.
var errBatch = errors.New("the batch is full")

// Stream is [Snapshotter.Walk] without filters. It takes the same memory for
// any number of snapshots, and other calls can write while fn runs.
//
// Stream does not show the state of one moment. It may or may not show a
// snapshot that is made or removed during the call. It shows every other
// snapshot exactly once. That includes a snapshot that is committed or renamed
// during the call and so gets another name: when Stream has already passed the
// position of the new name, it shows that snapshot at the end.
func (s *Snapshotter) Stream(ctx context.Context, fn snapshots.WalkFunc) error {
	return s.streamRows(ctx, func(ctx context.Context, row meta.Snapshot) error { return fn(ctx, infoOf(row)) })
}

// streamRows is Stream with the rows.
func (s *Snapshotter) streamRows(ctx context.Context, fn func(context.Context, meta.Snapshot) error) (err error) {
	defer s.observe(Event{Op: OpWalk}).end(&err)
	end, err := s.calls.begin()
	if err != nil {
		return err
	}
	defer end()
	st := s.streams.open()
	defer s.streams.close(st)
	for more := true; more; {
		var batch []meta.Snapshot
		if batch, more, err = s.nextBatch(st); err != nil {
			return err
		}
		for _, row := range batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(ctx, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// nextBatch reads the next rows. After the last row it also returns the
// snapshots that were renamed, before they were read, to a name that the stream
// has passed.
func (s *Snapshotter) nextBatch(st *stream) (batch []meta.Snapshot, more bool, err error) {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	err = s.view(func(tx *meta.Tx) error {
		n := 0
		err := tx.WalkSnapshotsAfter("", st.after, func(row meta.Snapshot) error {
			if n == streamBatch {
				return errBatch
			}
			n++
			st.after = row.Name
			if row.State == meta.Ready && !st.shown[row.Name] {
				batch = append(batch, row)
			}
			return nil
		})
		if more = errors.Is(err, errBatch); more || err != nil {
			return ignore(err, errBatch)
		}
		for _, name := range st.passed {
			row, err := ready(tx, name)
			if errors.Is(err, meta.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			batch = append(batch, row)
		}
		return nil
	})
	return batch, more, err
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// A stream is a reading of all rows that has not ended.
type stream struct {
	after string // the last name that was read
	// shown are the new names of snapshots that were read under their old names.
	// passed are the new names of snapshots that were not read, and whose new name
	// the stream has passed.
	shown  map[string]bool
	passed []string
}

// streams are the readings that have not ended.
type streams struct {
	// mu is held while a stream reads rows, and during a rename.
	mu   sync.Mutex
	list map[*stream]bool
}

func (s *streams) open() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &stream{shown: map[string]bool{}}
	if s.list == nil {
		s.list = map[*stream]bool{}
	}
	s.list[st] = true
	return st
}

func (s *streams) close(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, st)
}

// rename calls run, which renames a snapshot, and updates the streams.
func (s *streams) rename(from, to string, run func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := run(); err != nil {
		return err
	}
	for st := range s.list {
		read := from <= st.after
		if read && to > st.after {
			st.shown[to] = true
		}
		if !read && to <= st.after {
			st.passed = append(st.passed, to)
		}
	}
	return nil
}
