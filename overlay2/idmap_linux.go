package overlay2

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/mount"
)

// A layer with an ID map is mounted over mapped parents. Its own directory
// cannot be mapped, because an overlay with a mapped upper directory is
// read-only. So files that are written there get the host's IDs. All code that
// reads the layer translates these IDs to the container's IDs, and Seal
// translates them on disk.

// errMapped is the error for a call that is not possible on a layer whose
// directory has the host's IDs.
var errMapped = fmt.Errorf("%w: the IDs of its mounts are mapped", driver.ErrUnsupported)

// errHalfSealed says that a layer's directory has IDs of both the host and the
// container.
var errHalfSealed = fmt.Errorf("%w: sealing it was interrupted: seal it again, or remove it", driver.ErrSealed)

// mapRoot translates the IDs of a layer's root directory to the host's IDs. The
// root has the attributes of the parent's root, which are the container's.
func mapRoot(path string, m *mount.IDMap) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	st, err := sys.Fstat(fd)
	if err != nil {
		return err
	}
	uid, gid, err := m.ToHost(st.Uid, st.Gid)
	if err != nil {
		return fmt.Errorf("the root directory: %w", err)
	}
	a := attrs.Attrs{UID: uid, GID: gid, Mode: st.Mode & 0o7777}
	for _, name := range []string{xattrACL, xattrDefaultACL} {
		value, ok, err := sys.Fgetxattr(fd, name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		mapped, err := hostACL(m, string(value))
		if err != nil {
			return fmt.Errorf("the root directory: %w", err)
		}
		a.Xattrs = append(a.Xattrs, attrs.Xattr{Name: name, Value: mapped})
	}
	a.Sort()
	return attrs.Set(attrs.Open(fd), &a, attrs.Unknown, attrs.Options{KeepTimes: true})
}

// shiftOf returns how to translate the IDs in a layer's own directory, or nil
// if they need no translation. It returns errHalfSealed if sealing was
// interrupted in the middle of the translation.
func (d *backend) shiftOf(id driver.ID, m layerdir.Meta) (*shift, error) {
	if m.IDMap == nil || m.View || m.Sealed {
		return nil, nil
	}
	_, err := os.Lstat(d.store.Path(id, shiftFile))
	switch {
	case err == nil:
		return nil, errHalfSealed
	case errors.Is(err, fs.ErrNotExist):
		return &shift{m.IDMap, d.onXFS}, nil
	}
	return nil, err
}

// node translates the owner of a name in a directory. The empty name means the
// directory itself.
func (v *stack) node(p place, name string, n diff.Node) (diff.Node, error) {
	if v.shift == nil || p.layer != 0 {
		return n, nil
	}
	var err error
	if n.UID, n.GID, err = v.shift.ToContainer(n.UID, n.GID); err != nil {
		return diff.Node{}, fmt.Errorf("%s: %w", p.child(name), err)
	}
	return n, nil
}

// attrs translates the extended attributes of a name to the form that is shown.
// For name see node.
func (v *stack) attrs(p place, name string, onDisk map[string]string) (map[string]string, error) {
	shown := v.marks.Shown(onDisk)
	if v.shift == nil || p.layer != 0 {
		return shown, nil
	}
	for _, attr := range []string{xattrCapability, xattrACL, xattrDefaultACL} {
		value, ok := shown[attr]
		if !ok {
			continue
		}
		mapped, err := v.shift.xattr(attr, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.child(name), err)
		}
		if mapped != value {
			shown = maps.Clone(shown)
			shown[attr] = mapped
		}
	}
	return shown, nil
}
