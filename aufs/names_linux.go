package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// CreateWith makes a layer. fill makes the layer's branch; changes that fill
// makes to the record are lost. The record is marked incomplete until all files
// of the layer are in place. Removing the mark makes the layer exist. After an
// error, either nothing is left of the layer, or what is left is marked
// incomplete.
func (s *store) CreateWith(id driver.ID, m *layerdir.Meta, fill func(branch string) error) error {
	if err := id.Validate(); err != nil {
		return err
	}
	s.names.Lock()
	defer s.names.Unlock()
	if err := s.vacant(id); err != nil {
		return err
	}
	if err := s.announce(id, *m); err != nil {
		return err
	}
	if err := s.complete(id, *m, fill); err != nil {
		return errors.Join(err, s.erase(id))
	}
	return nil
}

// vacant returns [driver.ErrExists] if any file has the layer's name. It first
// removes what is left of an incomplete layer.
func (s *store) vacant(id driver.ID) error {
	incomplete, err := s.incomplete(id)
	if err != nil {
		return err
	}
	if incomplete {
		return s.erase(id)
	}
	for _, path := range []string{s.records.Path(id), s.parentsFile(id), s.branch(id), s.mnt(id)} {
		taken, err := exists(path)
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("%s: %w", id, driver.ErrExists)
		}
	}
	return nil
}

// announce durably writes the record of a layer with the incomplete mark.
func (s *store) announce(id driver.ID, m layerdir.Meta) error {
	if err := s.step("record"); err != nil {
		return err
	}
	return s.records.Create(id, m, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, incompleteName), nil, 0o600)
	})
}

// makeDir makes a directory that does not inherit ACLs or the group of the
// directory above it, which another engine may have made.
func makeDir(path string, perm fs.FileMode) error {
	if err := os.Mkdir(path, perm); err != nil {
		return err
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err == nil {
		err = errors.Join(sys.Disinherit(int(dir.Fd()), uint32(perm)), dir.Close())
	}
	if err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// complete makes the other files of an announced layer. A view has no branch.
func (s *store) complete(id driver.ID, m layerdir.Meta, fill func(branch string) error) error {
	err := s.run(
		step{"mount point", func() error { return makeDir(s.mnt(id), 0o700) }},
		step{"sync mount points", func() error { return s.sync(mntDir) }},
	)
	if err == nil && !m.View {
		err = s.run(
			step{"branch", func() error { return makeDir(s.branch(id), 0o755) }},
			step{"fill", func() error { return fill(s.branch(id)) }},
			step{"sync branches", func() error { return s.sync(diffDir) }},
			step{"parents", func() error { return s.writeParents(id, m.Parents) }},
		)
	}
	if err != nil {
		return err
	}
	return s.run(
		step{"exist", func() error { return os.Remove(s.records.Path(id, incompleteName)) }},
		step{"sync record", func() error { return durable.OS().SyncDir(s.records.Path(id)) }},
	)
}

// RemoveIdle removes a layer of this driver or a foreign one. The layer stops
// existing when its record is durably marked incomplete. RemoveIdle returns
// [driver.ErrBusy] for a mounted layer and does not change it. It returns nil
// for a missing layer.
func (s *store) RemoveIdle(id driver.ID) error {
	if err := id.Validate(); err != nil {
		return err
	}
	s.names.Lock()
	defer s.names.Unlock()
	ours, err := s.ours(id)
	if err != nil {
		return err
	}
	if !ours {
		if foreign, err := exists(s.parentsFile(id)); err != nil || !foreign {
			return err
		}
	}
	if err := s.idle(id); err != nil {
		return err
	}
	if ours {
		err = s.condemn(id)
	} else {
		err = s.announce(id, layerdir.Meta{Sealed: true})
	}
	if err != nil {
		return err
	}
	return s.erase(id)
}

// condemn durably marks a layer of this driver as incomplete, so that it no
// longer exists.
func (s *store) condemn(id driver.ID) error {
	return s.run(
		step{"condemn", func() error { return s.mark(id) }},
		step{"sync condemned", func() error { return durable.OS().SyncDir(s.records.Path(id)) }},
	)
}

// mark makes the file that marks a layer incomplete. If the disk is full, it
// renames the record to that file, because the record is no longer needed.
func (s *store) mark(id driver.ID) error {
	path := s.records.Path(id, incompleteName)
	f, err := ownfiles.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if durable.NoRoom(err) {
		return s.records.Become(id, path)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// erase removes the files of an incomplete layer, the record last. It moves
// large files into the directory of the record, which is deleted in the
// background.
func (s *store) erase(id driver.ID) error {
	return s.run(
		step{"take branch", func() error { return s.take(s.branch(id), id) }},
		step{"sync taken branch", func() error { return s.sync(diffDir) }},
		step{"take parents", func() error { return s.take(s.parentsFile(id), id) }},
		step{"sync taken parents", func() error { return s.sync(layersDir) }},
		step{"take mount point", func() error { return s.take(s.mnt(id), id) }},
		step{"sync taken mount point", func() error { return s.sync(mntDir) }},
		step{"drop record", func() error { return s.records.Remove(id) }},
	)
}

// take moves the file or directory at path into the directory of the layer's
// record. It does nothing if path does not exist.
func (s *store) take(path string, id driver.ID) error {
	to := s.records.Path(id, filepath.Base(filepath.Dir(path))) // a rename to this name needs no space on a full disk
	taken, err := exists(to)
	if err != nil {
		return err
	}
	if taken { // by an earlier attempt
		dir, err := os.MkdirTemp(s.records.Path(id), "taken-")
		if err != nil {
			return err
		}
		to = filepath.Join(dir, "again")
	}
	err = os.Rename(path, to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: something is mounted on %s", driver.ErrBusy, path)
	}
	return err
}

func (s *store) sync(dir string) error { return durable.OS().SyncDir(filepath.Join(s.root, dir)) }

// A step is one change on disk.
type step struct {
	name string
	run  func() error
}

// run runs the steps until one returns an error.
func (s *store) run(steps ...step) error {
	for _, t := range steps {
		if err := s.step(t.name); err != nil {
			return err
		}
		if err := t.run(); err != nil {
			return err
		}
	}
	return nil
}

// idle returns [driver.ErrBusy] for a layer that is mounted, by this driver or
// on its classic mount point, or that has something mounted inside it.
func (s *store) idle(id driver.ID) error {
	if err := s.NotMounted(id, layerdir.Unmounted); err != nil {
		return err
	}
	for _, path := range []string{s.mnt(id), s.branch(id)} {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		mounted := false
		if err == nil && info.Mode()&fs.ModeSymlink == 0 { // mountinfo.Mounted would follow it
			mounted, err = mountinfo.Mounted(path)
		}
		if err != nil {
			return err
		}
		if mounted {
			return fmt.Errorf("%w: something is mounted on %s", driver.ErrBusy, path)
		}
		if err := layerdir.NothingMountedBelow(path); err != nil {
			return err
		}
	}
	return nil
}

// NotMounted returns [driver.ErrBusy] if the use of the layer is stronger than
// allowed, either as a mount of this driver or as a branch of an aufs.
func (s *store) NotMounted(id driver.ID, allowed layerdir.Use) error {
	if err := s.records.NotMounted(id, allowed); err != nil {
		return err
	}
	return s.notBranch(id, allowed)
}

// notBranch returns [driver.ErrBusy] if the layer's branch is used by an aufs,
// of any program, more strongly than allowed.
func (s *store) notBranch(id driver.ID, allowed layerdir.Use) error {
	use, err := layerdir.BranchUse(s.branch(id))
	if err == nil && use > allowed {
		err = fmt.Errorf("%w: it is mounted", driver.ErrBusy)
	}
	return err
}

// writeParents durably writes the list of a layer's parents that other engines
// read.
func (s *store) writeParents(id driver.ID, parents []driver.ID) error {
	return durable.WriteFile(durable.OS(), s.parentsFile(id), parentsText(parents), 0o600)
}

// parentsText returns the classic form of a list of parents, nearest first.
func parentsText(parents []driver.ID) []byte {
	var b strings.Builder
	for _, p := range parents {
		b.WriteString(string(p) + "\n")
	}
	return []byte(b.String())
}
