package tar

import (
	stdtar "archive/tar"
	"crypto/sha256"
	"io"
)

// A replay is the rest of a stream whose markers had to be known: the headers,
// and the digests of the bodies.
type replay struct {
	entries []replayed
	end     error // what follows the entries; io.EOF at the end of the archive
	endPos  int64 // and where that is
	cur     *replayed
}

type replayed struct {
	hdr *stdtar.Header
	pos int64
	sum [sha256.Size]byte // of the body, when data is read
}

// next returns the header of the next entry and lets go of it.
func (r *replay) next(v *verifier) (*stdtar.Header, error) {
	if len(r.entries) == 0 {
		v.tape.start = r.endPos
		return nil, r.end
	}
	r.cur = &r.entries[0]
	r.entries = r.entries[1:]
	v.tape.start = r.cur.pos
	return r.cur.hdr, nil
}

// readAhead reads the stream to the end, from the body of the current entry on.
// What is wrong with an entry is found when its turn comes.
func (v *verifier) readAhead() error {
	r := &replay{}
	if err := v.ahead(r, v.header); err != nil {
		return err
	}
	for entries := v.entries; r.end == nil && entries <= v.limits.Entries; {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		hdr, err := v.reading.next()
		if err != nil {
			r.end = err
			break
		}
		if hdr.Typeflag == stdtar.TypeXGlobalHeader && checkRecords(hdr, v.limits.PAXBytes) == nil {
			continue
		}
		entries++
		if err := v.ahead(r, hdr); err != nil {
			return err
		}
		if !v.learn(hdr) {
			r.end = io.ErrUnexpectedEOF // never reached: there is an error before it
		}
	}
	if r.end == nil {
		r.end = io.ErrUnexpectedEOF // never reached: there are too many entries
	}
	r.endPos = v.tape.start
	v.replay, v.allMarks, v.unread = r, true, false
	v.entries, v.bytes = v.entries-1, v.bytes-v.size
	return errAgain
}

// ahead reads the body of an entry and adds the entry. An error of the stream
// ends the replay, that of the context everything.
func (v *verifier) ahead(r *replay, hdr *stdtar.Header) error {
	e := replayed{hdr: hdr, pos: v.tape.start}
	v.unread = hdr.Size != 0
	if v.readData && hdr.Size > 0 {
		h := sha256.New()
		v.makeBuffers()
		_, err := io.CopyBuffer(onlyWriter{h}, cancellable{v.tr, v.ctx}, v.fromTar)
		if err := v.ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			r.end = v.readError(err)
		}
		h.Sum(e.sum[:0])
	}
	r.entries = append(r.entries, e)
	return nil
}

// learn records the marker that an entry may be. It reports false when the
// entry has an error, which ends the stream in its turn, and when there are too
// many marks, which ends it with the next one.
func (v *verifier) learn(hdr *stdtar.Header) bool {
	p, err := cleanPath(hdr.Name, v.limits.PathDepth, v.longest)
	if err != nil {
		return false
	}
	if _, err := readMarker(v.marks, p, hdr); err != nil {
		return false
	}
	return v.countEntries() == nil
}
