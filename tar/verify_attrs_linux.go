package tar

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
)

// An expected says what one path must be. Its extended attributes are in kept
// if they come from a tar, or in shown if they come from the view of the layers
// below. Only one of the two is set.
type expected struct {
	stat   diff.Node
	target string // for a symbolic link
	kept   []wantedXattr
	shown  map[string]string
	below  bool // it comes from the layers below
}

func expectedDir(a *attributes) *expected {
	e := &expected{stat: a.node(), kept: keepXattrs(a.Xattrs)}
	e.stat.Mode |= diff.TypeDir
	return e
}

// differs adds a finding about an attribute.
func (c *comparison) differs(p string, kind FindingKind, want *expected, should, is string) {
	c.findings.add(Finding{Path: p, Kind: kind, Below: want.below, Want: should, Got: is})
}

// attributes compares the attributes that every type of file has.
func (c *comparison) attributes(p string, want *expected, got *diff.Node, xattrs func() (map[string]string, error)) error {
	if !got.IsSymlink() && got.Perm() != want.stat.Perm() {
		c.differs(p, FindingMode, want, fmt.Sprintf("%04o", want.stat.Perm()), fmt.Sprintf("%04o", got.Perm()))
	}
	if got.UID != want.stat.UID || got.GID != want.stat.GID {
		c.differs(p, FindingOwner, want, ownerOf(&want.stat), ownerOf(got))
	}
	c.time(p, want, got)
	have, err := xattrs()
	if err != nil {
		return c.findings.bear(p, false, err)
	}
	if want.below {
		want.kept = nil
		for name, value := range want.shown {
			want.kept = append(want.kept, wantedXattr{name: name, value: value})
		}
	}
	if text := c.compareXattrs(want, have, got); text != "" {
		c.differs(p, FindingXattrs, want, "", text)
	}
	return nil
}

// time compares the modification time.
func (c *comparison) time(p string, want *expected, got *diff.Node) {
	should, is := want.stat.Mtime, got.Mtime
	c.fractions = c.fractions || is.Nanosecond() != 0
	if is.Equal(should) || isClamped(should, is) {
		return
	}
	f := Finding{Path: p, Kind: FindingMtime, Below: want.below, Want: timeText(should), Got: timeText(is)}
	if is.Nanosecond() == 0 && is.Unix() == should.Unix() {
		c.uncertain.add(f)
		return
	}
	c.findings.add(f)
}

// isClamped reports whether the kernel replaces the time want by got on a file
// system that cannot store want. The kernel takes the nearest time that the
// file system can store, in whole seconds. The limits below are those of ext4
// with small and with large inodes, and of xfs without and with bigtime. The
// limits of tmpfs and btrfs are out of reach.
func isClamped(want, got time.Time) bool {
	const ext4Last, xfsLast = 1<<34 - 1<<31 - 1, 16299260424
	if got.Nanosecond() != 0 {
		return false
	}
	switch got.Unix() {
	case -1 << 31:
		return isLater(got, want)
	case 1<<31 - 1, ext4Last, xfsLast:
		return isLater(want, got)
	default:
		return false
	}
}

// compareXattrs says in words how the extended attributes differ. It returns ""
// if they do not differ.
func (c *comparison) compareXattrs(want *expected, have map[string]string, got *diff.Node) string {
	if len(want.kept) == 0 && len(have) == 0 {
		return ""
	}
	var texts []string
	known := make(map[string]struct{}, len(want.kept))
	for i := range want.kept {
		x := &want.kept[i]
		known[x.name] = struct{}{}
		value, there := have[x.name]
		switch {
		case !there && !want.below && c.mayLack(x, got):
		case !there:
			texts = append(texts, printable(x.name)+" is missing")
		case !x.matches(value, want):
			texts = append(texts, printable(x.name)+" has another value")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := known[name]; !ok {
			texts = append(texts, printable(name)+" should not be there")
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// mayLack reports whether a file may lack an extended attribute that the tar
// has for it. There are four reasons: no file of this type can have it, Linux
// does not have the namespace, a user namespace may not set it, or the mode
// says the same.
func (c *comparison) mayLack(x *wantedXattr, got *diff.Node) bool {
	namespace, _, _ := strings.Cut(x.name, ".")
	switch namespace {
	case "user":
		return !got.IsRegular() && !got.IsDir()
	case "trusted", "security":
		return c.userNS
	case "system":
		return c.userNS || isACL(x.name) && isNotKept(x.name, x.value)
	default:
		return true
	}
}

// matches reports whether value is the wanted value.
func (x *wantedXattr) matches(value string, want *expected) bool {
	switch {
	case x.digest:
		return digestOf(value) == x.value
	case value == x.value:
		return true
	default:
		return !want.below && x.name == accessACL && sameACL(x.value, value, want.stat.Perm())
	}
}

func typeName(n *diff.Node) string {
	switch n.Type() {
	case diff.TypeDir:
		return "directory"
	case diff.TypeRegular:
		return "regular file"
	case diff.TypeSymlink:
		return "symbolic link"
	case diff.TypeFifo:
		return "named pipe"
	case diff.TypeChar:
		return "character device"
	case diff.TypeBlock:
		return "block device"
	case diff.TypeSocket:
		return "socket"
	default:
		return "file of unknown type"
	}
}

func ownerOf(n *diff.Node) string { return fmt.Sprintf("%d:%d", n.UID, n.GID) }

func bytesOf(n int64) string { return strconv.FormatInt(n, 10) + " bytes" }

func deviceText(dev uint64) string { return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)) }

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
