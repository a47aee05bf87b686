package mount

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// AUFS names the branches of an aufs mount, or the branches that a remount adds
// to it.
type AUFS struct {
	// Branches are the directories, uppermost first. Only the first branch of a
	// mount can be writable. It is writable unless the mount is read-only.
	Branches []Branch
	// XINO is the path of the file for inode numbers. aufs creates and unlinks
	// it during the mount. Not with Append.
	XINO string
	// Append adds the branches below the branches of the mounts before this one
	// in the list. One call takes a limited number of branches, so long chains
	// need several.
	Append bool
}

// A Branch is one directory of an aufs mount. Its path is absolute and has no
// character that aufs interprets, see [CheckBranchPath].
type Branch struct {
	Path string
	// Writable makes the branch "rw". Otherwise it is "ro+wh". Plain "ro" would
	// ignore the whiteouts in the branch, and show the files that they hide.
	Writable bool
}

// Limits of aufs, measured with aufs 6.1. The kernel does not check the first
// two: it crashes when the options do not fit into its page of slots, and
// silently cuts text after one page.
const (
	// MaxAUFSSlots is the largest number of branches and other options of one
	// call, together.
	MaxAUFSSlots = 84
	// MaxAUFSData is the largest length of the options of one call, in bytes.
	MaxAUFSData = 4095
	// MaxBranches is the largest number of branches of one aufs.
	MaxBranches = 127
)

// String returns the branch in the form of the aufs mount option.
func (b Branch) String() string {
	if b.Writable {
		return b.Path + "=rw"
	}
	return b.Path + "=ro+wh"
}

// CheckBranchPath returns an error that matches [ErrUnsupported] when aufs
// cannot take the path as a branch or a xino file. aufs has no escapes: ":" and
// "," end a path, and "=" begins the permission.
func CheckBranchPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/") || filepath.Clean(path) != path:
		return fmt.Errorf("%w: aufs: %q is no absolute, plain path", ErrUnsupported, path)
	case path == "/":
		return fmt.Errorf("%w: aufs: the root directory cannot be a branch", ErrUnsupported)
	}
	for _, c := range []byte(path) {
		if strings.IndexByte(`:,=\"`, c) >= 0 || c < ' ' || c == 0x7f {
			return fmt.Errorf("%w: aufs cannot take the character %q in the path %q", ErrUnsupported, c, path)
		}
	}
	return nil
}

// options renders what aufs itself reads of a mount, without flags.
func (a *AUFS) options(others []string) []string {
	branches := make([]string, len(a.Branches))
	for i, b := range a.Branches {
		branches[i] = b.String()
	}
	if a.Append {
		for i := range branches {
			branches[i] = "append:" + branches[i]
		}
		return append(branches, others...)
	}
	opts := append([]string{"br:" + strings.Join(branches, ":")}, others...)
	if a.XINO != "" {
		opts = append(opts, "xino="+a.XINO)
	}
	return opts
}

// slots is how many entries the kernel makes of the options.
func (a *AUFS) slots(others []string) int {
	n := len(a.Branches) + len(others)
	if a.XINO != "" {
		n++
	}
	return n
}

// checkAUFS refuses an aufs mount, or remount, that would crash the kernel or
// would not be what it looks like.
func (m Mount) checkAUFS() error {
	a := m.AUFS
	switch {
	case a == nil || len(a.Branches) == 0:
		return fmt.Errorf("%w: aufs without branches", ErrUnsupported)
	case a.Append && (a.XINO != "" || len(m.Options) > 0):
		return fmt.Errorf("%w: aufs: a remount adds branches and nothing else", ErrUnsupported)
	case !a.Append && a.Branches[0].Writable == m.ReadOnly:
		return fmt.Errorf("%w: aufs: the first branch has to be writable in a writable mount, and in no other", ErrUnsupported)
	}
	for i, b := range a.Branches {
		if b.Writable && (i > 0 || a.Append) {
			return fmt.Errorf("%w: aufs: only the first branch can be writable, not %q", ErrUnsupported, b.Path)
		}
		if err := CheckBranchPath(b.Path); err != nil {
			return err
		}
	}
	if a.XINO != "" {
		if err := CheckBranchPath(a.XINO); err != nil {
			return err
		}
	}
	for _, o := range m.Options {
		if err := checkAUFSOption(o); err != nil {
			return err
		}
	}
	if n := a.slots(m.Options); n > MaxAUFSSlots {
		return fmt.Errorf("%w: %d aufs options in one call, at most %d", ErrTooLong, n, MaxAUFSSlots)
	}
	if n := len(joinOptions(a.options(m.Options))); n > MaxAUFSData {
		return fmt.Errorf("%w: %d bytes of aufs options in one call, at most %d", ErrTooLong, n, MaxAUFSData)
	}
	return nil
}

// checkAUFSOption takes words and settings, none of which has a path or more
// than one value: what names branches is in AUFS.
func checkAUFSOption(o string) error {
	key, value, _ := strings.Cut(o, "=")
	for _, word := range []string{key, value} {
		for _, c := range word {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
				return fmt.Errorf("%w: aufs option %q", ErrUnsupported, o)
			}
		}
	}
	if key == "" {
		return fmt.Errorf("%w: aufs option %q", ErrUnsupported, o)
	}
	return nil
}

// checkList refuses a list of mounts in which one by itself is wrong, or the
// parts of an aufs do not belong together.
func checkList(mounts []Mount) error {
	for i := 0; i < len(mounts); {
		n := 1
		for i+n < len(mounts) && mounts[i+n].isRemount() {
			n++
		}
		for _, m := range mounts[i : i+n] {
			if err := m.check(); err != nil {
				return err
			}
		}
		if err := checkTogether(mounts[i : i+n]); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// checkTogether checks an aufs mount with all its remounts.
func checkTogether(mounts []Mount) error {
	if mounts[0].AUFS == nil {
		if len(mounts) > 1 {
			return fmt.Errorf("%w: a remount of what is no aufs", ErrUnsupported)
		}
		return nil
	}
	if mounts[0].isRemount() {
		return fmt.Errorf("%w: an aufs remount without the mount before it", ErrUnsupported)
	}
	var paths []string
	for _, m := range mounts {
		if m.ReadOnly != mounts[0].ReadOnly {
			return fmt.Errorf("%w: an aufs remount that makes it read-only or writable", ErrUnsupported)
		}
		for _, b := range m.AUFS.Branches {
			paths = append(paths, b.Path)
		}
	}
	if len(paths) > MaxBranches {
		return fmt.Errorf("%w: %d aufs branches, at most %d", ErrUnsupported, len(paths), MaxBranches)
	}
	return CheckBranches(paths, mounts[0].AUFS.XINO)
}

// CheckBranches returns an error when one branch is inside another, or when the
// xino file is inside a branch: aufs would then show its own files. An empty
// xino means none.
func CheckBranches(paths []string, xino string) error {
	// With the slash at its end, a directory sorts right before what is in it.
	sorted := make([]string, len(paths))
	for i, p := range paths {
		sorted[i] = p + "/"
	}
	slices.Sort(sorted)
	for i := 1; i < len(sorted); i++ {
		if strings.HasPrefix(sorted[i], sorted[i-1]) {
			return fmt.Errorf("%w: the aufs branch %q is in the branch %q", ErrUnsupported, sorted[i], sorted[i-1])
		}
	}
	for _, p := range sorted {
		if xino != "" && strings.HasPrefix(xino+"/", p) {
			return fmt.Errorf("%w: the xino file %q is in the branch %q", ErrUnsupported, xino, p)
		}
	}
	return nil
}

// isRemount reports whether the value changes a mount and makes none.
func (m Mount) isRemount() bool { return m.AUFS != nil && m.AUFS.Append }

// mountsIn is how many mounts the list leaves at the target, one on another.
func mountsIn(list []Mount) (n int) {
	for _, m := range list {
		if !m.isRemount() {
			n++
		}
	}
	return n
}

// checkTarget refuses to mount an aufs in one of its branches, or above one:
// what a remount appends by its path would be looked up in the mount.
func checkTarget(mounts []Mount, target string) error {
	target = strings.TrimSuffix(target, "/") + "/"
	for _, m := range mounts {
		if m.AUFS == nil {
			continue
		}
		for _, b := range m.AUFS.Branches {
			if p := b.Path + "/"; strings.HasPrefix(p, target) || strings.HasPrefix(target, p) {
				return fmt.Errorf("%w: the mount point %q and the aufs branch %q are one in the other", ErrUnsupported, target, b.Path)
			}
		}
	}
	return nil
}
