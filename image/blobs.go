package image

import (
	_ "crypto/sha512" // go-digest verifies only with what is linked in
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/internal/rmtree"
)

// blobs is the content directory: an OCI layout whose index is the database.
//
//	<dir>/oci-layout
//	<dir>/blobs/<algorithm>/<hex>   verified, synced, never changed
//	<dir>/ingest/                   temporary files; emptied at open
type blobs struct {
	dir string
	fs  durable.FS
	// refused is why what is in the directory of an additional store cannot be
	// used: nothing is found there.
	refused error
}

const ingestDir = "ingest"

// blobsIn returns the blobs in a directory for reading.
func blobsIn(dir string) *blobs { return &blobs{dir: dir, fs: durable.OS()} }

// openBlobs makes the directory where it is missing, and removes temporary
// files and what is in ingest: the store is open in one process, so they belong
// to nobody.
func openBlobs(dir string) (*blobs, error) {
	b := blobsIn(dir)
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("content directory: %w", err)
	}
	if err := clearDir(filepath.Join(dir, ingestDir)); err != nil {
		return nil, fmt.Errorf("content directory: %w", err)
	}
	for _, d := range []string{"", ingestDir, ocispec.ImageBlobsDir, filepath.Join(ocispec.ImageBlobsDir, string(digest.SHA256))} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("content directory: %w", err)
		}
	}
	if err := durable.RemoveStale(dir); err != nil {
		return nil, fmt.Errorf("content directory: %w", err)
	}
	marker := filepath.Join(dir, ocispec.ImageLayoutFile)
	if _, err := os.Lstat(marker); errors.Is(err, fs.ErrNotExist) {
		// A blob is only as durable as the directories it is in.
		for _, d := range []string{filepath.Join(dir, ocispec.ImageBlobsDir), filepath.Dir(dir)} {
			if err := b.fs.SyncDir(d); err != nil {
				return nil, fmt.Errorf("content directory: %w", err)
			}
		}
		err = durable.WriteFile(b.fs, marker, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`), 0o444)
		if err != nil {
			return nil, fmt.Errorf("content directory: %w", err)
		}
	}
	return b, nil
}

// check refuses a content directory in which something else stands in the place
// of what is its own. A blob that is none is refused when it is opened.
func (b *blobs) check() error {
	return ownfiles.Check(b.dir,
		ownfiles.Entry{Name: ".", Dir: true}, ownfiles.Entry{Name: ingestDir, Dir: true},
		ownfiles.Entry{Name: ocispec.ImageBlobsDir, Dir: true},
		ownfiles.Entry{Name: ocispec.ImageLayoutFile}, ownfiles.Entry{Name: backupName},
		ownfiles.Entry{Name: filepath.Join(ocispec.ImageBlobsDir, string(digest.SHA256)), Dir: true},
		ownfiles.Entry{Name: filepath.Join(ocispec.ImageBlobsDir, string(digest.SHA384)), Dir: true},
		ownfiles.Entry{Name: filepath.Join(ocispec.ImageBlobsDir, string(digest.SHA512)), Dir: true},
	)
}

// clearDir removes what is in a directory, which may be missing. The directory
// stays: on a full disk another could not be made.
func clearDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, rmtree.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}

// path is only called with valid digests: their hex part is a plain name.
func (b *blobs) path(d digest.Digest) string {
	return filepath.Join(b.dir, ocispec.ImageBlobsDir, string(d.Algorithm()), d.Encoded())
}

// has returns the size of a blob that is there.
func (b *blobs) has(d digest.Digest) (size int64, ok bool, err error) {
	if d.Validate() != nil {
		return 0, false, nil //nolint:nilerr // what is no digest names no blob
	}
	if b.refused != nil {
		return 0, false, nil
	}
	st, err := os.Lstat(b.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err == nil {
		err = ownfiles.CheckFile(b.path(d), st)
	}
	if err != nil {
		return 0, false, fmt.Errorf("content %s: %w", d, err)
	}
	return st.Size(), true, nil
}

// open opens a blob; ErrNotFound when it is not there.
func (b *blobs) open(d digest.Digest) (*os.File, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%w: content %q: %w", ErrInvalid, d, err)
	}
	if b.refused != nil {
		return nil, fmt.Errorf("content %s: %w: %w", d, ErrNotFound, b.refused)
	}
	f, err := ownfiles.Open(b.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("content %s: %w", d, ErrNotFound)
	}
	return f, err
}

// whole reports whether a blob is there and is what its digest says.
func (b *blobs) whole(d digest.Digest) bool {
	f, err := b.open(d)
	if err != nil {
		return false
	}
	defer f.Close()
	hash := d.Algorithm().Hash()
	_, err = io.Copy(hash, f)
	return err == nil && digest.NewDigest(d.Algorithm(), hash) == d
}

// read returns a small blob, checked against its digest again.
func (b *blobs) read(d digest.Digest) ([]byte, error) {
	f, err := b.open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := readLimited(f, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("content %s: %w", d, err)
	}
	if got := d.Algorithm().FromBytes(raw); got != d {
		return nil, fmt.Errorf("content %s: %w: it is %s now", d, ErrDigest, got)
	}
	return raw, nil
}

// addAs stores a small blob under a digest that the caller has checked.
func (b *blobs) addAs(d digest.Digest, raw []byte) error {
	w, err := b.create()
	if err != nil {
		return err
	}
	defer w.abort()
	if _, err := w.Write(raw); err != nil {
		return err
	}
	return w.commit(d)
}

// addFrom is addAs for a file.
func (b *blobs) addFrom(d digest.Digest, from io.ReadSeeker) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w, err := b.create()
	if err != nil {
		return err
	}
	defer w.abort()
	if _, err := io.Copy(w, from); err != nil {
		return err
	}
	return w.commit(d)
}

// remove removes a blob; a missing one is no error.
func (b *blobs) remove(d digest.Digest) error {
	err := os.Remove(b.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// walk calls fn for every blob.
func (b *blobs) walk(fn func(d digest.Digest, size int64) error) error {
	root := filepath.Join(b.dir, ocispec.ImageBlobsDir)
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if path == root && errors.Is(err, fs.ErrNotExist) {
			return nil // all are missing, which is said of each image
		}
		if err != nil || e.IsDir() {
			return err
		}
		d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(path))), e.Name())
		if d.Validate() != nil {
			return nil //nolint:nilerr // not ours
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(d, info.Size())
	})
}

// spool returns an unlinked temporary file: it goes when it is closed, or with
// the process.
func (b *blobs) spool() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(b.dir, ingestDir), "spool-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// A blobWriter is a blob being written: a temporary file until commit.
type blobWriter struct {
	*durable.Pending
	b *blobs
}

func (b *blobs) create() (*blobWriter, error) {
	p, err := durable.Create(b.fs, filepath.Join(b.dir, ingestDir, "blob"), 0o444)
	if err != nil {
		return nil, err
	}
	return &blobWriter{p, b}, nil
}

// commit makes the content durable under d, which the caller has verified.
func (w *blobWriter) commit(d digest.Digest) error {
	dir := filepath.Dir(w.b.path(d))
	if err := os.Mkdir(dir, 0o700); err == nil {
		if err := w.b.fs.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return w.CommitAs(w.b.path(d))
}

// abort removes what was not committed. It may follow commit.
func (w *blobWriter) abort() {
	if w != nil {
		// Nothing to tell: what stays is removed when the store is opened.
		_ = w.Discard()
	}
}

// readLimited reads to the end, or fails when that is further than limit.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%w: document of more than %d bytes", ErrInvalid, limit)
	}
	return raw, nil
}
