package overlay2

import (
	"context"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/tar"
)

// rebaseFilled gives parents to a layer that another program filled directly.
func (d *backend) rebaseFilled(ctx context.Context, id driver.ID, m layerdir.Meta, parents []driver.ID) error {
	inherited, err := d.store.CheckParents(parents)
	if err != nil {
		return err
	}
	if len(m.Parents) > 0 {
		return fmt.Errorf("%w: it has other parents", driver.ErrUnsupported)
	}
	if err := d.store.NotMounted(id, layerdir.MountedReadOnly); err != nil {
		return err
	}
	made, err := d.store.Recorded(id)
	if err != nil {
		return err
	}
	own, below, done, err := d.openOwn(id, parents)
	if err != nil {
		return err
	}
	defer done()
	fill := implied{d: d, root: own.Path(), since: made}
	err = d.store.Merging(id, false, func() error {
		err := d.walkOwn(ctx, own, below, fill.dir)
		if err != nil && fill.changed {
			err = fmt.Errorf("%w: %w", tar.ErrTorn, err)
		}
		return err
	})
	if err != nil {
		return err
	}
	m.Parents = parents
	m.Inherit(inherited)
	return d.store.Save(id, m)
}

// implied finds directories that a program unpacking a layer tar made only
// because an entry needed a parent directory, and gives them the attributes
// that such directories have: those of the same directory in the parents, or
// else those of an empty root.
type implied struct {
	d *backend
	// root is the path of the layer's own directory.
	root string
	// since is the time when the layer was made.
	since   time.Time
	changed bool
}

func (i *implied) dir(own *rootfd.Dir, below diff.Dir, _ []rootfd.Entry) error {
	ok, err := i.is(own)
	if err != nil || !ok {
		return err
	}
	i.changed = true
	return own.Use(func(fd int) error {
		if below != nil {
			return layerdir.CopyAttrs(fd, below, i.d.marks.Encoding)
		}
		return layerdir.EmptyAttrs(fd, i.d.marks.Encoding)
	})
}

// is reports whether no entry of the layer tar described the directory. Such a
// directory is root:root 0755, has no attributes, and its last change was that
// an entry was added to it, so mtime and ctime are equal. A program that sets
// an mtime changes ctime to the current time, and cannot set ctime. Setting the
// mark of an opaque directory also changes ctime; for such a directory only the
// comparison of mtime with since counts. The root of an empty layer still has
// the mtime 0 that it was made with.
func (i *implied) is(own *rootfd.Dir) (bool, error) {
	st, err := own.Stat()
	if err != nil || st.Mode&0o7777 != 0o755 || st.UID != 0 || st.GID != 0 {
		return false, err
	}
	attrs, err := own.Xattrs()
	if err != nil {
		return false, err
	}
	_, opaque := attrs[i.d.marks.opaque()]
	if len(i.d.marks.Shown(attrs)) > 0 {
		return false, nil
	}
	if own.Path() == i.root && st.Mtime.Equal(time.Unix(0, 0)) {
		return true, nil
	}
	return !st.Mtime.Before(i.since) && (opaque || st.Mtime.Equal(st.Ctime)), nil
}
