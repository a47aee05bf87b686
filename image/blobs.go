package image

import (
	_ "crypto/sha512" // go-digest supports only the algorithms that are linked in
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
	// refused says why nothing in the directory of an additional store can be used.
	// All blobs are then missing.
	refused error
}

const ingestDir = "ingest"

// blobsIn returns the blobs in a directory, for reading.
func blobsIn(dir string) *blobs { return &blobs{dir: dir, fs: durable.OS()} }

// openBlobs makes the directory if it is missing. It removes temporary files
// and the content of ingest. Only one process has the store open, so no other
// process uses these files.
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
		// A blob is durable only if the directories above it are durable.
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

// check returns an error if a file or directory in the content directory is not
// of the expected kind. A blob that is not a regular file gives an error when
// it is opened.
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

// clearDir removes the content of a directory. The directory may be missing.
// clearDir keeps the directory itself, because it could not be made again on a
// full disk.
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

// path returns the path of a blob. The digest must be valid; then its hex part
// is a plain file name.
func (b *blobs) path(d digest.Digest) string {
	return filepath.Join(b.dir, ocispec.ImageBlobsDir, string(d.Algorithm()), d.Encoded())
}

// has returns the size of a blob, in bytes, if the blob exists.
func (b *blobs) has(d digest.Digest) (size int64, ok bool, err error) {
	if d.Validate() != nil {
		return 0, false, nil //nolint:nilerr // an invalid digest has no blob
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

// open opens a blob. It returns ErrNotFound if the blob does not exist.
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

// whole reports whether a blob exists and has its digest.
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

// read returns a small blob after comparing it with its digest.
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

// addAs stores a small blob under a digest that the caller has verified.
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

// addFrom does the same as addAs for a file.
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

// remove removes a blob. A missing blob is not an error.
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
			return nil // all blobs are missing, which is reported for each image
		}
		if err != nil || e.IsDir() {
			return err
		}
		d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(path))), e.Name())
		if d.Validate() != nil {
			return nil //nolint:nilerr // not a blob
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

// spool returns a temporary file that is already unlinked. It is deleted when
// it is closed or the process ends.
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

// A blobWriter writes a blob to a temporary file until commit.
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

// commit makes the content durable under d. The caller has verified the digest.
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

// abort removes a blob that was not committed. Calling it after commit does
// nothing.
func (w *blobWriter) abort() {
	if w != nil {
		// The error does not matter: the file is removed when the store is next opened.
		_ = w.Discard()
	}
}

// readLimited reads to the end. It returns an error after limit bytes.
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
