package overlay2

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// shiftFile is a file in a layer's directory. It lists the new owners of the
// layer's files, in the order of a walk. It is on disk before the first file
// changes, so that an interrupted change can be repeated. A file alone does not
// show whether it was already changed, because the IDs of host and container
// may overlap.
const shiftFile = "shift"

// A shifted is one record of shiftFile.
type shifted struct {
	Ino            uint64
	UID, GID, Mode uint32
	// Xattrs are the extended attributes that contain IDs.
	Xattrs map[string]string
}

// shiftOwners translates the owners of a layer's files to the container's IDs.
// It can be repeated until the layer's record says that it is done. If a file
// belongs to an ID outside the map, the error matches [mount.ErrUnmapped] and
// nothing is changed.
func (d *backend) shiftOwners(ctx context.Context, id driver.ID, m *shift) error {
	root, err := rootfd.Open(d.store.Path(id, fsDir), d.read())
	if err != nil {
		return err
	}
	defer root.Close()
	path := d.store.Path(id, shiftFile)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		err = durable.Write(durable.OS(), path, 0o600, func(w io.Writer) error { return planShift(ctx, root, m, w) })
		if err != nil {
			return err
		}
		f, err = os.Open(path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	plan := gob.NewDecoder(bufio.NewReader(f))
	return walkOwned(ctx, root, func(dir *rootfd.Dir, name string, st rootfd.Stat) error {
		var to shifted
		if err := plan.Decode(&to); err != nil {
			return fmt.Errorf("%s: %w", shiftFile, err)
		}
		if to.Ino != st.Ino {
			return fmt.Errorf("%s: it is not of these files: inode %d instead of %d", shiftFile, to.Ino, st.Ino)
		}
		return to.set(dir, name, st)
	})
}

// planShift writes a record for root and for every file below it.
func planShift(ctx context.Context, root *rootfd.Dir, m *shift, w io.Writer) error {
	buffered := bufio.NewWriter(w)
	plan := gob.NewEncoder(buffered)
	err := walkOwned(ctx, root, func(dir *rootfd.Dir, name string, st rootfd.Stat) (err error) {
		to := shifted{Ino: st.Ino, Mode: st.Mode & 0o7777}
		if to.UID, to.GID, err = m.ToContainer(st.UID, st.GID); err == nil {
			to.Xattrs, err = shiftedXattrs(dir, name, m)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", at(dir, name), err)
		}
		return plan.Encode(to)
	})
	if err != nil {
		return err
	}
	return buffered.Flush()
}

func at(dir *rootfd.Dir, name string) string {
	return path.Join(dir.Path(), name)
}

func shiftedXattrs(dir *rootfd.Dir, name string, m *shift) (map[string]string, error) {
	var all map[string]string
	var err error
	if name == "" {
		all, err = dir.Xattrs()
	} else {
		all, err = dir.LookupXattrs(name)
	}
	if err != nil {
		return nil, err
	}
	var some map[string]string
	for _, attr := range []string{xattrCapability, xattrACL, xattrDefaultACL} {
		value, ok := all[attr]
		if !ok {
			continue
		}
		if some == nil {
			some = map[string]string{}
		}
		if some[attr], err = m.xattr(attr, value); err != nil {
			return nil, err
		}
	}
	return some, nil
}

// set gives a file the owner, mode and extended attributes of the record. It
// keeps the file's times.
func (s shifted) set(dir *rootfd.Dir, name string, st rootfd.Stat) error {
	a := attrs.Attrs{UID: s.UID, GID: s.GID, Mode: s.Mode}
	for attr, value := range s.Xattrs {
		a.Xattrs = append(a.Xattrs, attrs.Xattr{Name: attr, Value: value})
	}
	a.Sort()
	return dir.Use(func(fd int) error {
		f := attrs.Named(fd, name, false)
		switch {
		case name == "":
			f = attrs.Open(fd)
		case st.IsSymlink():
			f = attrs.Link(fd, name)
		}
		return attrs.Set(f, &a, attrs.Unknown, attrs.Options{KeepTimes: true, Thaw: name != ""})
	})
}

// walkOwned visits dir, with an empty name, and everything below it in a fixed
// order. It skips whiteouts, which belong to the user who mounted the overlay.
func walkOwned(ctx context.Context, dir *rootfd.Dir, visit func(dir *rootfd.Dir, name string, st rootfd.Stat) error) error {
	st, err := dir.Stat()
	if err != nil {
		return err
	}
	if err := visit(dir, "", st); err != nil {
		return err
	}
	return walkNames(ctx, dir, visit)
}

func walkNames(ctx context.Context, dir *rootfd.Dir, visit func(dir *rootfd.Dir, name string, st rootfd.Stat) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := dir.Names()
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		st, err := dir.Lookup(name)
		if err != nil {
			return err
		}
		if st.Type() == rootfd.TypeChar && st.Rdev == 0 {
			continue
		}
		if err := visit(dir, name, st); err != nil {
			return err
		}
		if !st.IsDir() {
			continue
		}
		sub, err := dir.OpenDir(name)
		if err != nil {
			return err
		}
		if err := errors.Join(walkNames(ctx, sub, visit), sub.Close()); err != nil {
			return err
		}
	}
	return nil
}
