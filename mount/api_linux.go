package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// errNoAPI says that the kernel lacks a part of the new mount API that this
// mount needs, so that mount(2) is worth a try.
var errNoAPI = errors.New("no new mount API")

func detached(m Mount) (*os.File, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.Type == "bind" {
		return detachedBind(m)
	}
	if m.Type == "aufs" {
		return nil, fmt.Errorf("%w: aufs is mounted in several steps", ErrUnsupported)
	}
	return detachedOverlay(m)
}

func detachedBind(m Mount) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) {
		return nil, fmt.Errorf("%w: open_tree: %w", errNoAPI, err)
	}
	if err != nil {
		return nil, explain("open_tree", m.Source, err)
	}
	f := os.NewFile(uintptr(fd), m.Source)
	if err := m.setBind(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// setBind gives the clone of a mount the attributes it should have.
func (m Mount) setBind(f *os.File) error {
	// Not private, it would be a peer of the source's mount: what is mounted in
	// it later would be mounted in the source as well, and taken for a part of it.
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if m.ReadOnly {
		attr.Attr_set = unix.MOUNT_ATTR_RDONLY
	}
	if m.IDMap != nil {
		ns, err := userNS(*m.IDMap)
		if err != nil {
			return err
		}
		defer ns.Close()
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(ns.Fd())
	}
	err := unix.MountSetattr(int(f.Fd()), "", unix.AT_EMPTY_PATH, &attr)
	switch {
	case errors.Is(err, unix.ENOSYS): // Linux 5.2 to 5.11
		return fmt.Errorf("%w: mount_setattr: %w", errNoAPI, err)
	case errors.Is(err, unix.EINVAL) && m.IDMap != nil: // a file system that knows no maps
		return fmt.Errorf("%w: %w", ErrUnsupported, explain("mount_setattr of an ID map", m.Source, err))
	}
	return explain("mount_setattr", m.Source, err)
}

// An fsContext is the descriptor of fsopen(2).
type fsContext struct {
	f *os.File
	// byName says that this kernel (before 6.13) takes layers as strings only.
	byName bool
	// held keeps layers open that the kernel knows by /proc name only, and all
	// mapped ones, whose mounts end with their descriptors.
	held []*os.File
	hold bool
}

func detachedOverlay(m Mount) (*os.File, error) {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) {
		return nil, fmt.Errorf("%w: fsopen: %w", errNoAPI, err)
	}
	if err != nil {
		return nil, explain("fsopen", "overlay", err)
	}
	fc := &fsContext{f: os.NewFile(uintptr(fd), "fsopen overlay"), hold: m.IDMap != nil}
	defer fc.close()
	if err := fc.configure(m); err != nil {
		return nil, err
	}
	err = ignoringEINTR(func() error { return unix.FsconfigCreate(fd) })
	if err != nil {
		if fc.byName && errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("%w: %w", errNoAPI, fc.explain("create", err))
		}
		return nil, fc.explain("create", err)
	}
	attr := 0
	if m.ReadOnly {
		attr = unix.MOUNT_ATTR_RDONLY
	}
	mfd, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return nil, explain("fsmount", "", err)
	}
	return os.NewFile(uintptr(mfd), "overlay"), nil
}

func (fc *fsContext) close() {
	fc.f.Close()
	for _, f := range fc.held {
		f.Close()
	}
}

func (fc *fsContext) configure(m Mount) error {
	openLower, done, err := m.opener()
	if err != nil {
		return err
	}
	defer done()
	fd := int(fc.f.Fd())
	if m.Source != "" {
		if err := unix.FsconfigSetString(fd, "source", m.Source); err != nil {
			return fc.explain("source", err)
		}
	}
	if m.ReadOnly && m.Overlay.Upper != "" {
		if err := unix.FsconfigSetFlag(fd, "ro"); err != nil {
			return fc.explain("ro", err)
		}
	}
	for _, o := range m.Options {
		key, value, ok := strings.Cut(o, "=")
		var err error
		if ok {
			err = unix.FsconfigSetString(fd, key, value)
		} else {
			err = unix.FsconfigSetFlag(fd, key)
		}
		if err != nil {
			return fc.explain(o, err)
		}
	}
	for _, l := range m.Overlay.Lower {
		if err := fc.setDir("lowerdir+", l, openLower); err != nil {
			return err
		}
	}
	if m.Overlay.Upper == "" {
		return nil
	}
	if err := fc.setDir("upperdir", m.Overlay.Upper, openDir); err != nil {
		return err
	}
	return fc.setDir("workdir", m.Overlay.Work, openDir)
}

// setDir hands a directory over by descriptor, since a string may have at most
// 255 bytes; where the kernel takes strings only, by the descriptor's /proc name.
func (fc *fsContext) setDir(key, path string, open func(string) (*os.File, error)) error {
	dir, err := open(path)
	if err != nil {
		return err
	}
	if !fc.byName {
		err = unix.FsconfigSetFd(int(fc.f.Fd()), key, int(dir.Fd()))
		if err == nil && fc.hold {
			fc.held = append(fc.held, dir)
			return nil
		}
		if err == nil {
			return dir.Close()
		}
		if !errors.Is(err, unix.EINVAL) {
			dir.Close()
			return fc.explain(key+"="+path, err)
		}
	}
	fc.held = append(fc.held, dir)
	if serr := unix.FsconfigSetString(int(fc.f.Fd()), key, procPath(dir)); serr != nil {
		if !fc.byName {
			return fc.explain(key+"="+path, err)
		}
		return fc.explain(key+"="+path, serr)
	}
	fc.byName = true
	return nil
}

// explain adds what the kernel wrote into the context's log.
func (fc *fsContext) explain(what string, err error) error {
	buf := make([]byte, 1024)
	var log []string
	for range 8 {
		n, rerr := unix.Read(int(fc.f.Fd()), buf)
		if rerr != nil || n <= 0 {
			break
		}
		log = append(log, strings.TrimSpace(string(buf[:n])))
	}
	err = explain("overlay", what, err)
	if len(log) > 0 {
		err = fmt.Errorf("%w (kernel: %s)", err, strings.Join(log, "; "))
	}
	return err
}
