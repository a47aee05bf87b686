package image

import (
	stdtar "archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/layerkeep/layerkeep/internal/errkind"
)

// Pack opens the source, and returns a source whose Reader sends its content to
// an Import in another process, which opens no file. The caller closes both.
//
// A file is sent as it is. Of a directory Pack sends, as an archive, the files
// that the import will need. It checks everything that can be checked without
// unpacking, and returns the same errors as Import. Of opts it uses Image and
// Platform.
func (s Source) Pack(ctx context.Context, opts ImportOptions) (Source, io.Closer, error) {
	packed, done, err := s.pack(ctx, opts)
	if err != nil {
		return Source{}, nil, fmt.Errorf("import %s: %w", s, err)
	}
	return packed, done, nil
}

func (s Source) pack(ctx context.Context, opts ImportOptions) (Source, io.Closer, error) {
	file, ref := splitRef(s)
	want, err := opts.wanted(ref)
	if err != nil {
		return Source{}, nil, err
	}
	out := Source{Kind: s.Kind, Path: "-", Reader: s.Reader, Packed: &Packed{Label: s.String(), Ref: ref}}
	if file == "-" {
		if s.Reader == nil {
			return out, nil, fmt.Errorf("%w: source %s has no stream", ErrInvalid, s)
		}
		return out, io.NopCloser(nil), nil
	}
	out.Packed.Base = baseName(file)
	isDir, err := checkPath(s.Kind, file)
	if err != nil {
		return out, nil, err
	}
	if !isDir {
		f, err := os.Open(file)
		out.Reader = f
		return out, f, err
	}
	b, err := openDirBag(file)
	if err != nil {
		return out, nil, err
	}
	keep, err := neededBlobs(ctx, b, s.Kind, want)
	if err != nil {
		return out, nil, errors.Join(err, b.Close())
	}
	p := newDirPacker(b, keep)
	out.Reader = p.out
	return out, p, nil
}

// checkPath returns an error if a path cannot have this kind of source, and
// reports whether it is a directory.
func checkPath(kind Kind, path string) (isDir bool, err error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, errkind.As(err, ErrNotFound)
	case err != nil:
		return false, err
	case st.IsDir() && (kind == OCIArchive || kind == DockerArchive):
		return true, fmt.Errorf("%w: %s is a directory, not an archive", ErrInvalid, path)
	case !st.IsDir() && kind == SkopeoDir:
		return false, fmt.Errorf("%w: %s is not a directory", ErrInvalid, path)
	case !st.IsDir() && kind == OCILayout:
		return false, fmt.Errorf("%w: %s is not a directory; for an archive of a layout say oci-archive:%s", ErrInvalid, path, path)
	}
	return st.IsDir(), nil
}

// neededBlobs returns the names of the layer blobs that the import of a
// directory will read.
func neededBlobs(ctx context.Context, b bag, kind Kind, want wanted) (map[string]bool, error) {
	candidates, err := listCandidates(ctx, kind, b)
	if err != nil {
		return nil, err
	}
	_, img, err := pick(candidates, want)
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	for i, l := range img.Layers {
		f, err := img.layer(i)
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(img.Layers), err)
		}
		f.Close()
		keep[path.Join(blobDir, l.Blob.Digest.Algorithm().String(), l.Blob.Digest.Encoded())] = true
	}
	return keep, nil
}

const (
	blobDir = "blobs"
	// maxPackDepth limits the depth of directories, because symbolic links to
	// directories are followed.
	maxPackDepth = 8
)

// A dirPacker writes a directory as an archive into a pipe.
type dirPacker struct {
	bag  *dirBag
	keep map[string]bool
	out  *io.PipeReader
	done chan struct{}
}

func newDirPacker(b *dirBag, keep map[string]bool) *dirPacker {
	out, in := io.Pipe()
	p := &dirPacker{bag: b, keep: keep, out: out, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		w := stdtar.NewWriter(in)
		err := p.add(w, ".", 0)
		if err == nil {
			err = w.Close()
		}
		_ = in.CloseWithError(err) // always nil
	}()
	return p
}

// Close stops the packing and waits for its end.
func (p *dirPacker) Close() error {
	_ = p.out.Close() // always nil
	<-p.done
	return p.bag.Close()
}

func (p *dirPacker) add(w *stdtar.Writer, dir string, depth int) error {
	if depth > maxPackDepth {
		return nil
	}
	names, err := p.list(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		name := path.Join(dir, n)
		st, err := p.bag.root.Stat(name)
		if err != nil {
			continue // a link that leads nowhere, or out of the directory, counts as missing
		}
		switch {
		case st.IsDir():
			err = p.add(w, name, depth+1)
		case st.Mode().IsRegular() && p.wanted(name, st.Size()):
			err = p.addFile(w, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *dirPacker) list(dir string) ([]string, error) {
	f, err := p.bag.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// wanted returns false for the layers of other images.
func (p *dirPacker) wanted(name string, size int64) bool {
	return size <= maxDocument || p.keep[name] || !strings.HasPrefix(name, blobDir+"/")
}

func (p *dirPacker) addFile(w *stdtar.Writer, name string) error {
	f, size, err := p.bag.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.WriteHeader(&stdtar.Header{Typeflag: stdtar.TypeReg, Name: name, Mode: 0o600, Size: size}); err != nil {
		return err
	}
	_, err = io.CopyN(w, f, size)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %s has become shorter", ErrInvalid, name)
	}
	return err
}
