package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxString is how long a string given to fsconfig(2) can be: 256 bytes with
// the NUL.
const maxString = 255

// An fsContext is the descriptor of fsopen(2) while an overlay is configured.
type fsContext struct {
	f   *os.File
	way Way // WayDescriptors or WayStrings
	// played is that of the Mounter.
	played func(name string) error
	// held keeps layers open that the kernel knows by /proc name only, and all
	// mapped ones, whose mounts end with their descriptors.
	held []*os.File
	hold bool
	// base is the working directory of this thread; long names are given
	// relative to it. Empty when it was left as it is.
	base string
}

// detachedOverlay mounts an overlay nowhere. What the kernel refuses is a
// refusal in the sense of this package, whatever its reason: the next way may
// do it.
func (mr Mounter) detachedOverlay(m Mount, way Way) (f *os.File, err error) {
	base := ""
	if way == WayStrings && m.Overlay.longest() > maxString {
		base = m.Overlay.base()
	}
	configure := func() error {
		f, err = mr.overlayContext(m, way, base)
		return err
	}
	if base == "" {
		err = configure()
	} else if e := mr.thread.inDirectory(base, configure); err == nil && e != nil {
		// The thread could not go there, or not come back.
		if f != nil {
			f.Close()
		}
		return nil, refused(e)
	}
	return f, err
}

func (mr Mounter) overlayContext(m Mount, way Way, base string) (*os.File, error) {
	fd, err := mr.fsopen()
	if err != nil {
		return nil, refused(explain("fsopen", "overlay", err))
	}
	fc := &fsContext{f: os.NewFile(uintptr(fd), "fsopen overlay"), way: way, played: mr.played, hold: m.IDMap != nil, base: base}
	defer fc.close()
	if err := fc.configure(m); err != nil {
		return nil, err
	}
	if err := fc.create(); err != nil {
		return nil, fc.refused("create", err)
	}
	attr := 0
	if m.ReadOnly {
		attr = unix.MOUNT_ATTR_RDONLY
	}
	mfd, err := fc.mount(attr)
	if err != nil {
		fc.close() // the overlay ends
		return nil, refused(errors.Join(explain("fsmount", "overlay", err), m.dropVolatile()))
	}
	return os.NewFile(uintptr(mfd), "overlay"), nil
}

func (fc *fsContext) create() error {
	if err := fc.played("create"); err != nil {
		return err
	}
	return ignoringEINTR(func() error { return unix.FsconfigCreate(int(fc.f.Fd())) })
}

func (fc *fsContext) mount(attr int) (int, error) {
	if err := fc.played("fsmount"); err != nil {
		return -1, err
	}
	return unix.Fsmount(int(fc.f.Fd()), unix.FSMOUNT_CLOEXEC, attr)
}

func (mr Mounter) fsopen() (int, error) {
	if err := mr.played("fsopen"); err != nil {
		return -1, err
	}
	return unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
}

// played is the error that a test has this system call return, nil for none.
func (mr Mounter) played(name string) error {
	if mr.call == nil {
		return nil
	}
	return mr.call(name)
}

func (fc *fsContext) close() {
	fc.f.Close()
	for _, f := range fc.held {
		f.Close()
	}
	fc.held = nil
}

func (fc *fsContext) configure(m Mount) error {
	openLower, done, err := m.opener()
	if err != nil {
		return err
	}
	defer done()
	if err := fc.setOptions(m); err != nil {
		return err
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

func (fc *fsContext) setOptions(m Mount) error {
	options := m.Options
	if m.ReadOnly && m.Overlay.Upper != "" {
		options = append([]string{"ro"}, options...)
	}
	if m.Source != "" {
		options = append([]string{"source=" + m.Source}, options...)
	}
	for _, o := range options {
		key, value, ok := strings.Cut(o, "=")
		var err error
		if ok {
			err = fc.setString(key, value)
		} else {
			err = fc.setFlag(key)
		}
		if err != nil {
			return fc.refused(o, err)
		}
	}
	return nil
}

func (fc *fsContext) setFlag(key string) error {
	if err := fc.played("flag " + key); err != nil {
		return err
	}
	return unix.FsconfigSetFlag(int(fc.f.Fd()), key)
}

func (fc *fsContext) setString(key, value string) error {
	if err := fc.played("string " + key); err != nil {
		return err
	}
	return unix.FsconfigSetString(int(fc.f.Fd()), key, value)
}

// setDir hands over one directory, by descriptor or by name. EOPNOTSUPP to a
// descriptor means that overlay does not know the new mount API itself (before
// Linux 6.5): it would take "lowerdir+" and refuse it in the end.
func (fc *fsContext) setDir(key, path string, open func(string) (*os.File, error)) error {
	dir, err := open(path)
	if err != nil {
		return err
	}
	if fc.way == WayStrings {
		name := fc.name(key, dir)
		err := fc.setString(key, name)
		if name == procPath(dir) {
			fc.held = append(fc.held, dir)
		} else {
			dir.Close()
		}
		return fc.refused(key+"="+path, err)
	}
	if err = fc.played("descriptor " + key); err == nil {
		err = unix.FsconfigSetFd(int(fc.f.Fd()), key, int(dir.Fd()))
	}
	if err == nil && fc.hold {
		fc.held = append(fc.held, dir)
		return nil
	}
	dir.Close()
	if errors.Is(err, unix.EOPNOTSUPP) {
		return &refusal{err: explain("overlay", key+"="+path, err), to: WayMount2}
	}
	return fc.refused(key+"="+path, err)
}

// name is what a directory is called in a string: its path, or if that is too
// long its path from the working directory, or its descriptor's name in /proc.
// The last also where the kernel would take a backslash for an escape, which it
// does for the upper and work directories but not for lower ones.
func (fc *fsContext) name(key string, dir *os.File) string {
	path := dir.Name()
	if fc.base != "" && len(path) > maxString {
		path = relativeTo(fc.base)(path)
	}
	if len(path) > maxString || key != "lowerdir+" && strings.Contains(path, `\`) || fc.hold {
		return procPath(dir)
	}
	return path
}

// refused adds to an error what the kernel wrote into the context's log, and
// makes it a refusal unless it is one that every way would meet: a full disk,
// an upper directory that another mount uses.
func (fc *fsContext) refused(what string, err error) error {
	if err == nil {
		return nil
	}
	buf := make([]byte, 1024)
	var log []string
	for range 8 {
		n, rerr := unix.Read(int(fc.f.Fd()), buf)
		if rerr != nil || n <= 0 {
			break
		}
		log = append(log, strings.TrimSpace(string(buf[:n])))
	}
	lasting := !passing(err) && !errors.Is(err, unix.EBUSY)
	err = explain("overlay", what, err)
	if len(log) > 0 {
		err = fmt.Errorf("%w (kernel: %s)", err, strings.Join(log, "; "))
	}
	if lasting {
		err = refused(err)
	}
	return err
}
