package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// legacy mounts with mount(2).
func (m Mount) legacy(target string, th thread) error {
	if m.Type == "bind" {
		return m.legacyBind(target)
	}
	return m.legacyOverlay(target, th)
}

func (m Mount) legacyBind(target string) error {
	// Once it is mounted the handle still means the directory below; only its path
	// leads to what is mounted there.
	path, err := os.Readlink(target)
	if err != nil {
		return err
	}
	if err := unix.Mount(m.Source, target, "", unix.MS_BIND, ""); err != nil {
		return explain("mount --bind", m.Source, err)
	}
	err = unix.Mount("", path, "", unix.MS_PRIVATE, "") // as in detachedBind
	if err == nil && m.ReadOnly {
		err = remountReadOnly(m.Source, path)
	}
	if err != nil {
		err = errors.Join(explain("remount private or read-only", m.Source, err), unmount(path))
	}
	return err
}

// remountReadOnly keeps the flags of the source's mount: in a user namespace
// they are locked, and a remount that drops one is refused.
func remountReadOnly(source, target string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(source, &st); err != nil {
		return err
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	for _, p := range [][2]uintptr{
		{unix.ST_NOSUID, unix.MS_NOSUID},
		{unix.ST_NODEV, unix.MS_NODEV},
		{unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME},
		{unix.ST_NODIRATIME, unix.MS_NODIRATIME},
		{unix.ST_RELATIME, unix.MS_RELATIME},
	} {
		if uintptr(st.Flags)&p[0] != 0 {
			flags |= p[1]
		}
	}
	return unix.Mount("", target, "", flags, "")
}

// legacyOverlay writes the directories as they are, relative to the directory
// they are all in, or as the names of open descriptors: the first of these that
// fits. The kernel cuts what does not fit into its page silently, and a list
// cut at a path's end would mount without some of the layers.
//
// Paths that need an escape are named by descriptor at once: Linux 6.5 splits
// the options at every comma, escaped or not, and could take a part of a path
// for an option.
func (m Mount) legacyOverlay(target string, th thread) error {
	if m.Overlay.escaped() {
		return m.legacyByDescriptor(target, th)
	}
	opts, base := m.overlayOptions(nil), ""
	if !fits(opts) {
		base = m.Overlay.base()
		opts = m.overlayOptions(relativeTo(base))
	}
	if !fits(opts) {
		return m.legacyByDescriptor(target, th)
	}
	mount := func() error { return m.mountOverlay(target, opts) }
	var err error
	if base == "" {
		err = mount()
	} else {
		err = th.inDirectory(base, mount)
	}
	return errors.Join(err, m.Overlay.missing(err))
}

// missing names a directory that is not there, where that may be why the kernel
// answered EINVAL: it says so of a missing directory that is the only one.
func (o *Overlay) missing(err error) error {
	if !errors.Is(err, unix.EINVAL) {
		return nil
	}
	for _, path := range append([]string{o.Upper, o.Work}, o.Lower...) {
		if path == "" {
			continue
		}
		dir, err := openDir(path)
		if err != nil {
			return err
		}
		dir.Close()
	}
	return nil
}

// legacyByDescriptor names every directory by a number below /proc/self/fd.
func (m Mount) legacyByDescriptor(target string, th thread) (err error) {
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	opts := m.overlayOptions(func(s string) string {
		f, oerr := openDir(s)
		if oerr != nil {
			err = errors.Join(err, oerr)
			return s
		}
		open = append(open, f)
		return strconv.Itoa(int(f.Fd()))
	})
	if err != nil {
		return err
	}
	if !fits(opts) {
		return fmt.Errorf("%w: %d bytes for %d lower directories, at most %d", ErrTooLong, len(opts), len(m.Overlay.Lower), os.Getpagesize()-1)
	}
	return th.inDirectory("/proc/self/fd", func() error { return m.mountOverlay(target, opts) })
}

func (m Mount) overlayOptions(rename func(string) string) string {
	return strings.Join(append(m.Overlay.dirs(rename), m.Options...), ",")
}

func (m Mount) mountOverlay(target, opts string) error {
	var flags uintptr
	if m.ReadOnly {
		flags = unix.MS_RDONLY
	}
	err := ignoringEINTR(func() error { return unix.Mount(m.Source, target, "overlay", flags, opts) })
	return explain("mount overlay", opts, err)
}
