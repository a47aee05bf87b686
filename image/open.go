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

// defaultSpool is how much of a stream is put on disk before its manifest.
const defaultSpool = 64 << 30

// opened is a source whose images are listed.
type opened struct {
	bag
	candidates []candidate
	// ref is the reference behind the path, base the path's last component as
	// a name for an image; both may be empty.
	ref, base string
}

// openSource opens a source and lists its images. What is read at random, a
// directory or a plain tar file, is left where it is; all else is put aside
// uncompressed first, since an archive's manifest may come last.
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

// splitRef parts the path from the reference behind it. Both may hold colons:
// the longest path that exists wins, else the first colon parts them.
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

// baseName makes a name of a file's, "" where that cannot be.
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
	if st, err := f.Stat(); err == nil && !st.Mode().IsRegular() { // a pipe, as in <(docker save …)
		defer f.Close()
		return s.openStream(ctx, f, opts)
	}
	return s.openFile(ctx, f, opts)
}

// openFile takes f over.
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

// openStream puts a stream aside, uncompressed.
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

// names returns what an image is to be called that the caller gave no name.
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

// counted tells of the bytes that pass.
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

// copyContext copies until ctx is done.
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
