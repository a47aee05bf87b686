package image

import (
	stdtar "archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// A tarBag is a tar file with random access.
type tarBag struct {
	file  randomFile
	files map[string]extent
	// links maps symbolic and hard links to the names that they lead to. "" means
	// outside of the archive.
	links map[string]string
}

// extent is the position of the body of an entry, in bytes.
type extent struct{ offset, size int64 }

// maxLinks is the largest number of links that are followed, as in Linux.
const maxLinks = 40

func (t *tarBag) open(name string) (io.ReadCloser, int64, error) {
	asked := name
	for range maxLinks {
		if e, ok := t.files[name]; ok {
			return io.NopCloser(io.NewSectionReader(t.file, e.offset, e.size)), e.size, nil
		}
		next, found := t.follow(name)
		if !found {
			return nil, 0, &fs.PathError{Op: "open", Path: asked, Err: fs.ErrNotExist}
		}
		if next == "" {
			return nil, 0, leadsOut(asked)
		}
		name = next
	}
	return nil, 0, fmt.Errorf("%w: archive entry %s: too many links", ErrInvalid, asked)
}

// follow resolves the first link in a path. It returns another name in the
// archive, or "" for a path outside of it.
func (t *tarBag) follow(name string) (next string, found bool) {
	for end := 0; end < len(name); {
		if i := strings.IndexByte(name[end+1:], '/'); i >= 0 {
			end += 1 + i
		} else {
			end = len(name)
		}
		if target, ok := t.links[name[:end]]; ok {
			if target == "" {
				return "", true
			}
			return path.Join(target, name[end:]), true
		}
	}
	return "", false
}

func (t *tarBag) Close() error { return t.file.Close() }

// indexTar reads the headers of a tar file. No entry is ever unpacked. Names
// are only looked up, so names that leave the root of the archive are ignored.
func indexTar(ctx context.Context, f randomFile) (*tarBag, error) {
	bag := &tarBag{file: f, files: map[string]extent{}, links: map[string]string{}}
	r := stdtar.NewReader(f)
	names := 0
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return bag, nil
		}
		if err != nil {
			return nil, badTar(f, err)
		}
		names += len(h.Name) + len(h.Linkname)
		if n >= maxArchiveEntries || names > maxArchiveNames {
			return nil, fmt.Errorf("%w: an archive of more than %d entries, or with too long names", errBound, maxArchiveEntries)
		}
		if err := bag.note(h); err != nil {
			return nil, err
		}
	}
}

// note records one entry. If several entries have one name, the last one
// counts.
func (t *tarBag) note(h *stdtar.Header) error {
	name, ok := insideName(h.Name)
	if !ok {
		return nil
	}
	switch h.Typeflag {
	case stdtar.TypeReg:
		if isSparse(h) {
			return fmt.Errorf("%w: archive entry %s is sparse", ErrInvalid, name)
		}
		// The tar reader has read exactly the headers, so the file is now at the body.
		// This is true only for a reader that can seek, as this one can.
		offset, err := t.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		delete(t.links, name)
		t.files[name] = extent{offset, h.Size}
	case stdtar.TypeSymlink, stdtar.TypeLink:
		target := h.Linkname
		if h.Typeflag == stdtar.TypeSymlink {
			target = path.Join(path.Dir(name), target)
		}
		if target, ok = insideName(target); !ok || path.IsAbs(h.Linkname) && h.Typeflag == stdtar.TypeSymlink {
			target = "" // it leads out of the archive
		}
		delete(t.files, name)
		t.links[name] = target
	}
	return nil
}

// insideName cleans a name. It returns false for a name that leaves the
// archive.
func insideName(name string) (string, bool) {
	name = path.Clean(strings.TrimLeft(name, "/"))
	return name, name != ".." && !strings.HasPrefix(name, "../")
}

// isSparse reports whether an entry has a sparse format of GNU or PAX. The body
// of such an entry is not in the file as it is.
func isSparse(h *stdtar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == stdtar.TypeGNUSparse
}

func badTar(f randomFile, err error) error {
	at, _ := f.Seek(0, io.SeekCurrent) // only for the message
	if errors.Is(err, stdtar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: not a whole tar archive (near byte %d): %w", ErrInvalid, at, err)
	}
	return fmt.Errorf("reading the archive near byte %d: %w", at, err)
}
