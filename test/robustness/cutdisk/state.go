package cutdisk

import (
	"errors"
	"io"
	"os"
	"slices"
)

// pageSize is the part of a disk that a [State] keeps at once, in bytes.
const pageSize = 4096

type page [pageSize]byte

// A State is what a disk holds: the pages that are not zero, by their number.
// It moves through a log from one flush to a later one.
type State struct {
	pages map[int64]*page
	bytes int64
	// done is the number of records in it.
	done int
}

// ReadState reads what an image holds before the log begins.
func ReadState(image string) (*State, error) {
	f, err := os.Open(image)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s := &State{pages: map[int64]*page{}, bytes: info.Size()}
	for n := int64(0); ; n++ {
		var p page
		read, err := io.ReadFull(f, p[:])
		if read > 0 && p != (page{}) {
			s.pages[n] = &p
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Advance applies the log up to its n-th record.
func (s *State) Advance(l *Log, n int) {
	for ; s.done < n; s.done++ {
		s.apply(l.Records[s.done])
	}
}

// apply does one record.
func (s *State) apply(r Record) {
	for at, end := r.Offset, r.Offset+r.Length; at < end; {
		n, from := at/pageSize, at%pageSize
		length := min(pageSize-from, end-at)
		switch p := s.pages[n]; {
		case r.Kind == Write:
			if p == nil {
				p = new(page)
				s.pages[n] = p
			}
			copy(p[from:from+length], r.Data[at-r.Offset:])
		case p != nil && length == pageSize:
			delete(s.pages, n)
		case p != nil:
			clear(p[from : from+length])
		}
		at += length
	}
}

// WriteImage writes the disk as it is after the cut c into a new file, which
// gets holes where the disk is empty.
func (s *State) WriteImage(l *Log, c Cut, path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s.Advance(l, l.Durable(c.At))
	if err := f.Truncate(s.bytes); err != nil {
		return err
	}
	if err := s.writeRuns(f); err != nil {
		return err
	}
	for i, r := range l.Tail(c.At) {
		if err := c.Kept[i].write(f, r); err != nil {
			return err
		}
	}
	return nil
}

// writeRuns writes the pages, neighbours together.
func (s *State) writeRuns(f *os.File) error {
	numbers := make([]int64, 0, len(s.pages))
	for n := range s.pages {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var run []byte
	for i, n := range numbers {
		run = append(run, s.pages[n][:]...)
		if i+1 < len(numbers) && numbers[i+1] == n+1 {
			continue
		}
		if _, err := f.WriteAt(run, (n+1)*pageSize-int64(len(run))); err != nil {
			return err
		}
		run = run[:0]
	}
	return nil
}
