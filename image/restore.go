package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// backupName is the name of a file in the content directory. It has a copy of
// the records of all images, for when the database is lost.
const backupName = "images.json"

// maxBackup is the largest size of this file, in bytes. It is enough for a
// hundred thousand large images.
const maxBackup = 1 << 30

// backUp writes the records of all images to the copy, durably. It leaves out
// the image removed, which is about to be removed. It keeps the images that
// only the copy has, see lost.
//
// The order of the writes matters. A new image is in the database before it is
// in the copy, and a removed image leaves the copy before it leaves the
// database. So an image that only the copy has was lost from the database.
func (s *Store) backUp(ctx context.Context, removed string) error {
	s.backing.Lock()
	defer s.backing.Unlock()
	images, err := s.own(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	images = append(images, s.lost(images)...)
	images = slices.DeleteFunc(images, func(img Image) bool { return img.Name == removed })
	raw, err := json.Marshal(images)
	if err != nil {
		return err
	}
	return durable.WriteFile(s.blobs.fs, s.backupPath(), append(raw, '\n'), 0o600)
}

func (s *Store) backupPath() string { return filepath.Join(s.blobs.dir, backupName) }

func (s *Store) readBackup() ([]Image, error) { return s.blobs.readBackup() }

// forgetBackup does the same as backUp, before an image is removed. A full disk
// must not prevent the removal: if there is no space, forgetBackup deletes the
// copy. The next import writes it again.
func (s *Store) forgetBackup(ctx context.Context, removed string) error {
	err := s.snaps.DB().Roomy(func() error { return s.backUp(ctx, removed) })
	if durable.NoRoom(err) {
		err = os.Remove(s.backupPath())
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return err
}

// lost returns the images that are in the copy and not among known, the images
// of the database. The database is then older than the copy, or was made anew.
// What these images need is kept until they are restored or removed. A copy
// that cannot be read counts as empty.
func (s *Store) lost(known []Image) []Image {
	list, err := s.readBackup()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(list, func(img Image) bool {
		return slices.ContainsFunc(known, func(k Image) bool { return k.Name == img.Name })
	})
}

// removeLost forgets an image that only the copy has. It reports whether there
// was such an image.
func (s *Store) removeLost(ctx context.Context, name string) (bool, error) {
	full, err := ParseName(name)
	if err != nil {
		return false, nil //nolint:nilerr // no image can have such a name
	}
	images, err := s.own(ctx)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(s.lost(images), func(img Image) bool { return img.Name == full }) {
		return false, nil
	}
	return true, s.forgetBackup(ctx, full)
}

// CheckBackup compares the copy of the list of images with the database, and
// returns the differences, one line each. A missing copy does not count as a
// difference, because a full disk has no space for it.
func (s *Store) CheckBackup(ctx context.Context) (wrong []error, err error) {
	s.backing.Lock() // so that no image is in one and not yet in the other
	defer s.backing.Unlock()
	copied, err := s.readBackup()
	if errors.Is(err, ErrInvalid) {
		return []error{err}, nil
	}
	if err != nil {
		return nil, err
	}
	images, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]Image{}
	for _, img := range images {
		known[img.Name] = img
	}
	for _, c := range copied {
		img, ok := known[c.Name]
		switch {
		case !ok:
			wrong = append(wrong, fmt.Errorf("%s names the image %s, which the database does not", s.backupPath(), c.Name))
		case img.Imported.Equal(c.Imported) && !reflect.DeepEqual(img, c): // the times differ if the image was just imported again
			wrong = append(wrong, fmt.Errorf("%s says something else of the image %s than the database", s.backupPath(), c.Name))
		}
	}
	return wrong, nil
}

// RenewBackup writes the copy of the list of images again from the database.
func (s *Store) RenewBackup(ctx context.Context) error { return s.backUp(ctx, "") }

// A Restored is an image that the database did not have, and what became of it.
type Restored struct {
	Name string
	// Err says why the image could not be restored; nil: it was restored.
	Err error
}

// Restore records again the images that the database has lost, if their
// snapshots and blobs exist. With dryRun it only says what it would do; there
// then reports which snapshots would exist, in addition to those that do.
func (s *Store) Restore(ctx context.Context, dryRun bool, there func(key string) bool) ([]Restored, error) {
	list, err := s.readBackup()
	if errors.Is(err, ErrInvalid) {
		// The images in the database are all that is left. This error must not stop the
		// rest of a repair.
		r := Restored{Name: backupName, Err: fmt.Errorf("%w: the names of the images that the database does not have are lost", err)}
		if dryRun {
			return []Restored{r}, nil
		}
		return []Restored{r}, s.backUp(ctx, "")
	}
	if err != nil {
		return nil, err
	}
	if list == nil && !dryRun { // the disk may have been too full to write it
		if known, err := s.own(ctx); err != nil || len(known) == 0 {
			return nil, err
		}
		return nil, s.backUp(ctx, "")
	}
	var all []Restored
	var sound []Image
	for _, img := range list {
		if known, err := s.named(img.Name); err == nil && known.Store == "" {
			continue
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		have := func(key string) (bool, error) {
			ok, err := s.committed(ctx, key)
			return ok || there(key), err
		}
		r := Restored{Name: img.Name, Err: s.blobs.restorable(img, have)}
		all = append(all, r)
		if r.Err == nil {
			sound = append(sound, img)
		}
	}
	if dryRun || len(sound) == 0 {
		return all, nil
	}
	return all, s.snaps.DB().Update(func(tx *meta.Tx) error { return putImages(tx, sound) })
}

func putImages(tx *meta.Tx, images []Image) error {
	for _, img := range images {
		if err := tx.PutRecord(imageRecords, img.Name, img); err != nil {
			return err
		}
	}
	return nil
}

// Recover returns a function for [snapshotter.RebuildOptions] that records the
// images of a store in a new database, if their snapshots and blobs exist. Each
// time it is called it calls told with the images that it records, or would
// record. [Store.Restore] later reports the other images, and a damaged copy of
// the list of images.
func Recover(root string, told func([]Restored)) func(*meta.Tx, []meta.Snapshot) error {
	b := blobsIn(contentIn(root))
	return func(tx *meta.Tx, snapshots []meta.Snapshot) error {
		if err := b.check(); err != nil {
			return err
		}
		imported := map[string]bool{}
		for _, row := range snapshots {
			imported[row.Name] = row.Kind == meta.Committed && row.Labels[LabelLayer] == row.Name
		}
		have := func(key string) (bool, error) { return imported[key], nil }
		list, err := b.readBackup()
		missing, namesLost := err == nil && list == nil, err != nil || list == nil
		if namesLost {
			// The snapshots are worth recovering even without the names. But the next
			// garbage collection removes the snapshots that no image needs.
			if list, err = b.unnamed(); err != nil {
				return err
			}
		}
		list = slices.DeleteFunc(list, func(img Image) bool { return b.restorable(img, have) != nil })
		if tx != nil {
			if err := putImages(tx, list); err != nil {
				return err
			}
		}
		var all []Restored
		if n := unneeded(list, imported); n > 0 && namesLost { // otherwise the copy protects what its images need
			all = append(all, Restored{Name: backupName, Err: fmt.Errorf("%w: no image is known that needs %d of the snapshots; 'snapctl gc' removes them", errNamesLost, n)})
		} else if missing && len(list) > 0 {
			all = append(all, Restored{Name: backupName, Err: fmt.Errorf("%w: they are called %s now", errNamesLost, unnamedRepository)})
		}
		for _, img := range list {
			all = append(all, Restored{Name: img.Name})
		}
		told(all)
		return nil
	}
}

// unneeded returns the number of imported snapshots that no image needs.
func unneeded(images []Image, imported map[string]bool) int {
	needed := map[string]bool{}
	for _, img := range images {
		needed[img.Snapshot] = true
		for _, l := range img.Layers {
			needed[l.ChainID.String()] = true
		}
	}
	n := 0
	for key, is := range imported {
		if is && !needed[key] {
			n++
		}
	}
	return n
}

// readBackup returns nil if there is no copy.
func (b *blobs) readBackup() ([]Image, error) {
	path := filepath.Join(b.dir, backupName)
	f, err := ownfiles.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := readLimited(f, maxBackup)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var list []Image
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, path, err)
	}
	return list, nil
}

// restorable returns an error that says what an image lacks. have reports
// whether an import made a snapshot.
func (b *blobs) restorable(img Image, have func(key string) (bool, error)) error {
	if name, err := ParseName(img.Name); err != nil || name != img.Name {
		return fmt.Errorf("%w: its name cannot be one", ErrInvalid)
	}
	if _, err := b.read(img.Target.Digest); err != nil {
		return fmt.Errorf("its manifest: %w", err)
	}
	if _, err := b.read(img.Config.Digest); err != nil {
		return fmt.Errorf("its config: %w", err)
	}
	keys := []string{img.Snapshot}
	for _, l := range img.Layers {
		keys = append(keys, l.ChainID.String())
	}
	for _, key := range keys {
		ok, err := have(key)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("its snapshot %s: %w", key, ErrNotFound)
		}
	}
	return nil
}
