package tar

import "fmt"

// The limits of Linux for extended attributes on any file system
// (linux/limits.h), in bytes. Attributes can be added to a file until the list
// of their names is longer than maxXattrNames. But listxattr(2) then fails, and
// no name can be listed.
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	maxXattrNames = 64 << 10 // of all attributes of a file, each with a NUL
)

// checkXattrs returns an error for extended attributes that no file can have.
// It also returns an error for attributes that do not fit only here, because
// their names on disk are longer. names are the names in the layer.
func (a *attributes) checkXattrs(names []string) error {
	total, onDisk := 0, 0
	for i, name := range names {
		x := &a.Xattrs[i]
		total += len(name) + 1
		onDisk += len(x.Name) + 1
		switch {
		case len(name) > maxXattrName:
			return invalid("extended attribute %s has a name of %d bytes, and Linux takes %d", shortened(name), len(name), maxXattrName)
		case len(x.Value) > maxXattrValue:
			return invalid("extended attribute %s has %d bytes, and Linux takes %d", name, len(x.Value), maxXattrValue)
		case len(x.Name) > maxXattrName:
			return fmt.Errorf("%w: %s is kept here under a name of %d bytes, and Linux takes %d", ErrLargeXattr, name, len(x.Name), maxXattrName)
		}
	}
	if total > maxXattrNames {
		return invalid("%d extended attributes with %d bytes of names, and Linux lists %d of a file", len(names), total, maxXattrNames)
	}
	if onDisk > maxXattrNames {
		return fmt.Errorf("%w: the names of %d attributes take %d bytes as they are kept here, and Linux lists %d of a file",
			ErrLargeXattr, len(names), onDisk, maxXattrNames)
	}
	return nil
}

func shortened(name string) string { return name[:60] + "…" }
