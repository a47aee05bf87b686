package aufs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/mount"
)

// A union describes an aufs mount. Its methods do not look at the machine.
type union struct {
	// source is the source in the mount table.
	source string
	// branches are directories, uppermost first.
	branches []string
	// writable mounts the first branch writable. Otherwise all branches are
	// read-only, and so is the mount.
	writable bool
	// options are mount options of aufs, such as "dio".
	options []string
	// xino is the path of the file for inode numbers.
	xino string
}

// mounts returns the mount calls that make the union: one mount with as many
// branches as one call can take, and remounts that append the other branches.
// It returns an error matching [driver.ErrUnsupported] if aufs cannot do that.
// No call exceeds a limit beyond which the kernel would crash or ignore
// options, see [mount.MaxAUFSSlots].
func (u union) mounts() ([]mount.Mount, error) {
	if err := u.check(); err != nil {
		return nil, err
	}
	at := call{slots: len(u.options) + 1, bytes: len("br:") + len(",xino=") + len(u.xino)}
	for _, o := range u.options {
		at.bytes += len(",") + len(o)
	}
	first := u.empty()
	first.Options = slices.Clone(u.options)
	first.AUFS.XINO = u.xino
	list := []mount.Mount{first}
	for i, path := range u.branches {
		b := mount.Branch{Path: path, Writable: u.writable && i == 0}
		last := &list[len(list)-1]
		// A branch in the first call has ":" before it. In a remount it has "," and
		// "append:".
		cost := len(b.String()) + len(":")
		if last.AUFS.Append {
			cost = len(b.String()) + len(",append:")
		}
		if !at.takes(cost) {
			if len(last.AUFS.Branches) == 0 {
				return nil, fmt.Errorf("%w: the path of the branch %q leaves no room for the other options of a mount", driver.ErrUnsupported, path)
			}
			next := u.empty()
			next.AUFS.Append = true
			list = append(list, next)
			last = &list[len(list)-1]
			at = call{}
			if !at.takes(len(b.String()) + len(",append:")) {
				return nil, fmt.Errorf("%w: the path of the branch %q does not fit into the options of a mount", driver.ErrUnsupported, path)
			}
		}
		last.AUFS.Branches = append(last.AUFS.Branches, b)
	}
	return list, nil
}

// empty returns a mount call without branches.
func (u union) empty() mount.Mount {
	return mount.Mount{Type: "aufs", Source: u.source, ReadOnly: !u.writable, AUFS: &mount.AUFS{}}
}

// A call counts how much of the limits of one mount(2) call is used.
type call struct{ slots, bytes int }

// takes adds a branch of the given length if it fits, and reports whether it
// fits.
func (c *call) takes(bytes int) bool {
	if c.slots+1 > mount.MaxAUFSSlots || c.bytes+bytes > mount.MaxAUFSData {
		return false
	}
	c.slots++
	c.bytes += bytes
	return true
}

func (u union) check() error {
	switch {
	case len(u.branches) == 0:
		return fmt.Errorf("%w: no branches", driver.ErrUnsupported)
	case len(u.branches) > mount.MaxBranches:
		return fmt.Errorf("%w: %d branches, at most %d", driver.ErrUnsupported, len(u.branches), mount.MaxBranches)
	}
	errs := []error{mount.CheckBranchPath(u.xino)}
	for _, b := range u.branches {
		errs = append(errs, mount.CheckBranchPath(b))
	}
	for _, o := range u.options {
		errs = append(errs, checkWord(o))
	}
	err := errors.Join(errs...)
	if err == nil {
		err = mount.CheckBranches(u.branches, u.xino)
	}
	if err != nil {
		return errkind.As(err, driver.ErrUnsupported)
	}
	return nil
}

// checkWord returns an error for an option that is not one word.
func checkWord(o string) error {
	for _, c := range o {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Errorf("option %q", o)
		}
	}
	if o == "" {
		return errors.New("an empty option")
	}
	return nil
}

// A xinoPlace is a directory in which a xino file may be made.
type xinoPlace struct {
	dir string
	// fs is the type of its file system, as statfs(2) returns it. It is 0 if files
	// cannot be made in the directory.
	fs int64
}

// File systems that can hold a xino file. aufs uses the file after it is
// unlinked, and the file has to keep its size. aufs refuses XFS, btrfs and all
// file systems without a device except tmpfs (au_test_fs_bad_xino in
// fs/aufs/fstype.h).
const (
	tmpfsMagic = 0x01021994
	extMagic   = 0xef53 // ext2, ext3 and ext4
)

// chooseXINO returns the path of the xino file for the mount called source. It
// uses the first place that can hold such a file and is not inside a branch.
func chooseXINO(places []xinoPlace, source string, branches []string) (string, error) {
	sum := sha256.Sum256([]byte(source))
	name := "layerkeep-" + hex.EncodeToString(sum[:8]) + ".xino"
	errs := []error{fmt.Errorf("%w: there is no place for aufs' file of inode numbers", driver.ErrUnsupported)}
	for _, p := range places {
		if p.fs != tmpfsMagic && p.fs != extMagic {
			errs = append(errs, fmt.Errorf("%s is no tmpfs or ext4 that can be written to", p.dir))
			continue
		}
		path := p.dir + "/" + name
		err := mount.CheckBranchPath(path)
		if err == nil {
			err = mount.CheckBranches(branches, path)
		}
		if err == nil {
			return path, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}
