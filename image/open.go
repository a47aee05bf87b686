package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/layerkeep/layerkeep/tar"
)

// defaultSpool is the default of ImportOptions.SpoolBytes, in bytes.
const defaultSpool = 64 << 30

// opened is a source with a list of its images.
type opened struct {
	bag
	candidates []candidate
	// ref is the reference after the path. base is the last component of the path,
	// as a name for an image. Both may be empty.
	ref, base string
}

// openSource opens a source and lists its images. It reads a directory or a
// plain tar file where it is, because that allows random access. It first
// copies any other source, uncompressed, to a temporary file, because the
// manifest may be at the end of the archive.
func (s *Store) openSource(ctx context.Context, src Source, opts ImportOptions) (*opened, error) {
	path, ref := splitRef(src)
	o := &opened{ref: ref}
	var err error
	switch {
	case path == "-" && src.Reader == nil:
		return nil, fmt.Errorf("%w: source %s has no stream", ErrInvalid, src)
	case path == "-":
		if src.Packed != nil {
			o.ref, o.base = src.Packed.Ref, src.Packed.Base
		}
		o.bag, err = s.openStream(ctx, src.Reader, opts)
	default:
		o.base = baseName(path)
		o.bag, err = s.openPath(ctx, src.Kind, path, opts)
	}
	if err != nil {
		return nil, err
	}
	o.candidates, err = listCandidates(ctx, src.Kind, o.bag)
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// splitRef separates the path from the reference after it. Both may contain
// colons. It takes the longest path that exists. If none exists, it splits at
// the first colon.
func splitRef(src Source) (path, ref string) {
	if src.Kind == Detect {
		return src.Path, ""
	}
	for end := len(src.Path); end > 0; end = strings.LastIndexByte(src.Path[:end], ':') {
		if _, err := os.Lstat(src.Path[:end]); err == nil {
			return src.Path[:end], strings.TrimPrefix(src.Path[end:], ":")
		}
	}
	path, ref, _ = strings.Cut(src.Path, ":")
	return path, ref
}

// baseName makes the name of an image from the name of a file. It returns "" if
// that is not possible.
func baseName(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	base := strings.ToLower(filepath.Base(abs))
	for _, ext := range []string{".gz", ".tgz", ".zst", ".xz", ".txz", ".bz2", ".tbz2", ".tar", ".oci", ".docker"} {
		base = strings.TrimSuffix(base, ext)
	}
	if !pathRE().MatchString(base) || isHex64(base) {
		return ""
	}
	return base
}

func (s *Store) openPath(ctx context.Context, kind Kind, path string, opts ImportOptions) (bag, error) {
	isDir, err := checkPath(kind, path)
	if err != nil {
		return nil, err
	}
	if isDir {
		return openDirBag(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && !st.Mode().IsRegular() { // for example a pipe, as in <(docker save …)
		defer f.Close()
		return s.openStream(ctx, f, opts)
	}
	return s.openFile(ctx, f, opts)
}

// openFile opens an archive. It owns f from now on.
func (s *Store) openFile(ctx context.Context, f *os.File, opts ImportOptions) (bag, error) {
	packed, whole, err := sniff(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if packed != tar.None {
		defer f.Close()
		return s.openStream(ctx, whole, opts)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b, err := indexTar(ctx, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return b, nil
}

// openStream copies a stream, uncompressed, to a temporary file.
func (s *Store) openStream(ctx context.Context, r io.Reader, opts ImportOptions) (_ bag, err error) {
	spool, err := s.blobs.spool()
	if err != nil {
		return nil, fmt.Errorf("putting the stream aside: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, spool.Close())
		}
	}()
	limit := opts.SpoolBytes
	if limit <= 0 {
		limit = defaultSpool
	}
	if err := fillSpool(ctx, spool, r, limit, opts.Progress); err != nil {
		return nil, err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return indexTar(ctx, spool)
}

// names returns the names for an image if the caller gave none.
func (o *opened) names(c candidate) ([]string, error) {
	var names []string
	for _, ref := range c.refs {
		if !strings.ContainsAny(ref, ":/") && tagRE().MatchString(ref) {
			if o.base == "" {
				continue
			}
			ref = o.base + ":" + ref
		}
		if name, err := ParseName(ref); err == nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 && o.base != "" {
		names = append(names, o.base+":"+defaultTag)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w in its source; give it one", ErrNoName)
	}
	return names, nil
}

// counted reports the number of bytes that are read.
type counted struct {
	io.Reader
	tell func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		c.tell(int64(n))
	}
	return n, err
}

// copyContext copies until the end or until ctx is done.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	return io.Copy(w, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	}))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
