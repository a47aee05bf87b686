package tar

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// FindingKind says what is wrong with a path.
type FindingKind uint8

// The kinds of findings.
const (
	// FindingMissing: the path does not exist.
	FindingMissing FindingKind = iota + 1
	// FindingExtra: the path exists and should not.
	FindingExtra
	// FindingType: the file has another type. Nothing else of it is compared.
	FindingType
	// FindingMode: the permission bits differ.
	FindingMode
	// FindingOwner: the owner or the group differs.
	FindingOwner
	// FindingSize: the size of a regular file differs.
	FindingSize
	// FindingMtime: the modification time differs.
	FindingMtime
	// FindingXattrs: the extended attributes differ.
	FindingXattrs
	// FindingTarget: the target of a symbolic link differs.
	FindingTarget
	// FindingDevice: the number of a device differs.
	FindingDevice
	// FindingContent: the content of a regular file differs.
	FindingContent
	// FindingHardlink: names that should be one file are several files, or the
	// opposite.
	FindingHardlink
	// FindingUnreadable: the disk cannot be read there. See Finding.Err.
	FindingUnreadable
)

// String returns the kind in one or two words.
func (k FindingKind) String() string {
	words := [...]string{
		FindingMissing: "missing", FindingExtra: "extra", FindingType: "type", FindingMode: "mode", FindingOwner: "owner",
		FindingSize: "size", FindingMtime: "mtime", FindingXattrs: "xattrs", FindingTarget: "link target",
		FindingDevice: "device number", FindingContent: "content", FindingHardlink: "hard link", FindingUnreadable: "unreadable",
	}
	if int(k) < len(words) && k > 0 {
		return words[k]
	}
	return "unknown"
}

// A Finding is one difference between a tree and the tar that it was made from.
type Finding struct {
	// Path has the form of [diff.Change] Path.
	Path string
	Kind FindingKind
	// Below says that the tar does not describe what was compared, so that Want
	// comes from the layers below. For FindingUnreadable it says that a layer
	// below cannot be read, not this layer.
	Below bool
	// Want is what should be there, Got is what is there, in words. Each is
	// empty if nothing is there, or if the kind says everything.
	Want, Got string
	// Err is the error of a FindingUnreadable.
	Err error
}

// String returns the finding in one line that begins with the path. It quotes a
// path that is not plain text.
func (f Finding) String() string {
	source := "the tar"
	if f.Below {
		source = "the layers below"
	}
	path := "/"
	if f.Path != "." {
		path = printable("/" + f.Path)
	}
	switch f.Kind {
	case FindingMissing:
		return fmt.Sprintf("%s: is missing; %s: %s", path, source, f.Want)
	case FindingExtra:
		if f.Want != "" {
			return fmt.Sprintf("%s: is a %s; the tar: %s", path, f.Got, f.Want)
		}
		return fmt.Sprintf("%s: is a %s that the tar does not have", path, f.Got)
	case FindingContent:
		return fmt.Sprintf("%s: content is not that of %s%s", path, source, f.Got)
	case FindingUnreadable:
		if f.Below {
			return fmt.Sprintf("%s: cannot be read in the layers below: %v", path, f.Err)
		}
		return fmt.Sprintf("%s: cannot be read: %v", path, f.Err)
	case FindingXattrs:
		return fmt.Sprintf("%s: extended attributes: %s; compared with %s", path, f.Got, source)
	case FindingType, FindingHardlink:
		return fmt.Sprintf("%s: is a %s; %s: %s", path, f.Got, source, f.Want)
	default:
		return fmt.Sprintf("%s: %s is %s; %s: %s", path, f.Kind, f.Got, source, f.Want)
	}
}

// printable quotes a name that is not plain text. Names are hostile input.
func printable(name string) string {
	if quoted := strconv.Quote(name); quoted[1:len(quoted)-1] != name {
		return quoted
	}
	return name
}

// A collector keeps the first max findings and counts the rest.
type collector struct {
	max   int
	list  []Finding
	total int64
	// faulty is the set of paths that were reported as unreadable, because a path
	// may be read twice.
	faulty map[string]struct{}
}

func (c *collector) add(f Finding) {
	if f.Kind == FindingUnreadable && c.repeated(&f) {
		return
	}
	c.total++
	if len(c.list) < c.max {
		c.list = append(c.list, f)
	}
}

// repeated reports whether the path was already reported as unreadable, and
// remembers it.
func (c *collector) repeated(f *Finding) bool {
	key := fmt.Sprint(f.Below, f.Path)
	if _, known := c.faulty[key]; known {
		return true
	}
	if c.faulty == nil {
		c.faulty = map[string]struct{}{}
	}
	c.faulty[key] = struct{}{}
	return false
}

// join adds the findings of another collector.
func (c *collector) join(other *collector) {
	c.total += other.total
	c.list = append(c.list, other.list[:min(len(other.list), c.max-len(c.list))]...)
}

func (c *collector) sorted() []Finding {
	slices.SortStableFunc(c.list, func(a, b Finding) int { return cmp.Compare(a.Path, b.Path) })
	return c.list
}
