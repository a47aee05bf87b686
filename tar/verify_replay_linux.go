package tar

import (
	stdtar "archive/tar"
	"crypto/sha256"
	"io"
)

// A replay is the rest of a stream that was read ahead for its markers. It has
// the headers and the digests of the bodies.
type replay struct {
	entries []replayed
	end     error // the error after the last entry; io.EOF at the end of the archive
	endPos  int64 // the offset of that error in the stream
	cur     *replayed
}

type replayed struct {
	hdr *stdtar.Header
	pos int64
	sum [sha256.Size]byte // digest of the body; set only if content is compared
}

// next removes the next entry and returns its header.
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

// readAhead reads the stream to its end, starting with the body of the current
// entry. Errors in entries are found when the entries are replayed.
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
			r.end = io.ErrUnexpectedEOF // never returned: the entry itself gives an error first
		}
	}
	if r.end == nil {
		r.end = io.ErrUnexpectedEOF // never returned: the limit on entries gives an error first
	}
	r.endPos = v.tape.start
	v.replay, v.allMarks, v.unread = r, true, false
	v.entries, v.bytes = v.entries-1, v.bytes-v.size
	return errAgain
}

// ahead reads the body of an entry and adds the entry to the replay. An error
// of the stream ends the replay. An error of the context is returned.
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

// learn records the marker if an entry is one. It returns false if the entry
// has an error, or if there are too many marks. The replay then gives the error
// at this entry or the next one.
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
