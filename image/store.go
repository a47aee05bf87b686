package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/internal/keylock"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// The kinds of records that this package stores in the database of the
// snapshotter.
const (
	// imageRecords has an Image for each name.
	imageRecords = "images"
	// blobRecords has a blobRecord for each digest of a blob of a layer.
	blobRecords = "blobs"
)

// blobRecord says what is known about the blob of a layer in the content
// directory.
type blobRecord struct {
	// DiffID is the digest of the uncompressed blob, as it was once computed.
	DiffID string `json:"diffID"`
	// MediaType is the OCI media type of the blob.
	MediaType string `json:"mediaType"`
}

// A Store manages the images in a snapshotter. Their names are in its database,
// their blobs in the directory "content" of its root. Make only one Store for a
// Snapshotter. A Store is safe for concurrent use.
type Store struct {
	snaps *snapshotter.Snapshotter
	blobs *blobs
	pins  *pins
	turns keylock.Locks
	// backing is locked while the copy of the records is written, see backUp.
	backing sync.Mutex
	// running has the tokens of running imports, see unpacker.
	running tokens
	// others has the additional stores of snaps. They are only read.
	others []*Store
}

// Open returns the images of a snapshotter, and removes what a killed import
// left behind. The result is usable until the snapshotter is closed.
//
// On a snapshotter that is open for reading only, Open changes nothing. Import,
// Remove, RemoveSnapshot and Collect then return [snapshotter.ErrReadOnly].
func Open(s *snapshotter.Snapshotter) (*Store, error) {
	if s.ReadOnly() {
		store := &Store{snaps: s, blobs: blobsIn(contentOf(s)), pins: newPins()}
		if err := store.blobs.check(); err != nil {
			return nil, fmt.Errorf("content directory: %w", err)
		}
		store.openAdditional()
		return store, nil
	}
	b, err := openBlobs(contentOf(s))
	if err != nil {
		return nil, err
	}
	store := &Store{snaps: s, blobs: b, pins: newPins()}
	store.openAdditional()
	if s.OpenedInOrder() {
		// The copy was then complete, or was removed because there was no space.
		if _, err := os.Stat(store.backupPath()); err == nil {
			return store, store.dropUnremoved(context.Background())
		}
	}
	if err := store.dropInterrupted(context.Background()); err != nil {
		return store, err
	}
	return store, store.completeBackup()
}

// completeBackup writes the copy of the list of images if it lacks an image.
// That happens if an earlier version made the store, or if a process was killed
// before it wrote the copy.
func (s *Store) completeBackup() error {
	images, err := s.own(context.Background())
	if err != nil || len(images) == 0 {
		return nil //nolint:nilerr // a caller that asks for images gets this error
	}
	copied, err := s.readBackup()
	if err == nil && !slices.ContainsFunc(images, func(img Image) bool {
		return !slices.ContainsFunc(copied, func(c Image) bool { return c.Name == img.Name && c.Target.Digest == img.Target.Digest })
	}) {
		return nil
	}
	if err := s.backUp(context.Background(), ""); err != nil && !durable.NoRoom(err) {
		return fmt.Errorf("copy of the list of images: %w", err)
	}
	return nil
}

func contentOf(s *snapshotter.Snapshotter) string { return contentIn(s.Root()) }

// contentIn returns the content directory of the store at root.
func contentIn(root string) string { return filepath.Join(root, "content") }

// changeable returns an error if the store is open for reading only.
func (s *Store) changeable() error {
	if s.snaps.ReadOnly() {
		return errReadOnly
	}
	return nil
}

// errReadOnly is [snapshotter.ErrReadOnly] with its kind.
var errReadOnly = errkind.As(snapshotter.ErrReadOnly, errdefs.ErrFailedPrecondition)

// List returns all images, sorted by the bytes of their names. It includes the
// images of additional stores, see Image.Store; a name in this store, or in an
// earlier additional store, hides the same name in a later one.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	images, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	return s.withLent(ctx, images), ctx.Err()
}

// own returns the images that are recorded in this store.
func (s *Store) own(ctx context.Context) ([]Image, error) {
	var images []Image
	err := s.snaps.DB().View(func(tx *meta.Tx) error {
		return tx.WalkRecords(imageRecords, func(name string, raw json.RawMessage) error {
			var img Image
			if err := json.Unmarshal(raw, &img); err != nil {
				return fmt.Errorf("image %s: its record is unreadable: %w", name, err)
			}
			images = append(images, img)
			return ctx.Err()
		})
	})
	return images, err
}

// Image returns an image by its name, see [ParseName], by the digest of its
// manifest or config, or by the first digits of such a digest, at least four.
// It returns ErrNotFound when there is none, and ErrAmbiguous when several
// images have these first digits.
func (s *Store) Image(ctx context.Context, name string) (Image, error) {
	img, err := s.named(name)
	if err == nil || !errors.Is(err, ErrNotFound) {
		return img, err
	}
	images, err := s.byDigest(ctx, name)
	switch {
	case err != nil:
		return Image{}, err
	case len(images) == 0:
		return Image{}, fmt.Errorf("image %q: %w", name, ErrNotFound)
	}
	for _, other := range images[1:] {
		if other.Target.Digest != images[0].Target.Digest {
			return Image{}, fmt.Errorf("%w: %q is the beginning of several images: %s", ErrAmbiguous, name, listNames(images))
		}
	}
	return images[0], nil
}

// named returns the image with this name. It returns ErrNotFound also for a
// text that is not a valid name.
func (s *Store) named(name string) (img Image, err error) {
	full, err := ParseName(name)
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w", name, ErrNotFound)
	}
	err = s.snaps.DB().View(func(tx *meta.Tx) error { return tx.GetRecord(imageRecords, full, &img) })
	if errors.Is(err, meta.ErrNotFound) {
		return s.lentNamed(full)
	}
	return img, err
}

// Remove removes the name of an image, and everything that nothing else needs
// then, see [Store.Collect]. It returns ErrAmbiguous for a digest that has
// several names. When ctx ends before the name is removed, Remove changes
// nothing. After that it always completes.
func (s *Store) Remove(ctx context.Context, name string) (Collected, error) {
	if err := s.changeable(); err != nil {
		return Collected{}, err
	}
	img, err := s.Image(ctx, name)
	if errors.Is(err, ErrNotFound) {
		if lost, err := s.removeLost(ctx, name); err != nil {
			return Collected{}, err
		} else if lost {
			return s.Collect(context.WithoutCancel(ctx))
		}
	}
	if err != nil {
		return Collected{}, err
	}
	if img.Store != "" {
		return Collected{}, s.errLent(img)
	}
	if _, err := s.named(name); err != nil { // the caller gave a digest
		same, err := s.byDigest(ctx, name)
		if err != nil {
			return Collected{}, err
		}
		same = slices.DeleteFunc(same, func(i Image) bool { return i.Store != "" })
		if len(same) > 1 {
			return Collected{}, fmt.Errorf("%w: image %q has several names: %s", ErrAmbiguous, name, listNames(same))
		}
	}
	if err := ctx.Err(); err != nil {
		return Collected{}, err
	}
	if err := s.forgetBackup(ctx, img.Name); err != nil {
		return Collected{}, fmt.Errorf("image %s: copy of the list of images: %w", img.Name, err)
	}
	err = s.snaps.DB().Free(func(tx *meta.Tx) error { return tx.DeleteRecord(imageRecords, img.Name) })
	if errors.Is(err, meta.ErrNotFound) {
		return Collected{}, fmt.Errorf("image %s: %w", img.Name, ErrNotFound)
	}
	if err != nil {
		return Collected{}, fmt.Errorf("image %s: %w", img.Name, err)
	}
	return s.Collect(context.WithoutCancel(ctx))
}
