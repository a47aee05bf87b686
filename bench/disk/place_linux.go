package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/copytree"
)

// newPlace looks at the file system of a directory.
func newPlace(name, dir string) (*Place, error) {
	found, err := mountOf(dir)
	if err != nil {
		return nil, err
	}
	p := &Place{Name: name, Dir: dir, FileSystem: found.FSType, Options: options(found)}
	p.number = deviceOf(found)
	p.Device = describe(p.number, found)
	if p.Reflink, err = copytree.CanReflink(dir); err != nil {
		return nil, err
	}
	return p, nil
}

// mountOf returns the mount that a directory is in.
func mountOf(dir string) (*mountinfo.Info, error) {
	path, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return nil, err
	}
	var best *mountinfo.Info
	for _, m := range mounts {
		if best == nil || len(m.Mountpoint) >= len(best.Mountpoint) { // the last one covers the others
			best = m
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%s is in no mount of the mount table", path)
	}
	return best, nil
}

// options joins the options of the mount and of the file system, each once.
func options(m *mountinfo.Info) string {
	var all []string
	seen := map[string]bool{}
	for _, o := range strings.Split(m.Options+","+m.VFSOptions, ",") {
		if o != "" && !seen[o] {
			seen[o] = true
			all = append(all, o)
		}
	}
	return strings.Join(all, ",")
}

// deviceOf returns the number of the block device below a mount. File systems
// such as btrfs have a number of their own, which leads to no device; their
// source is its path.
func deviceOf(m *mountinfo.Info) uint64 {
	if m.Major > 0 {
		return unix.Mkdev(uint32(m.Major), uint32(m.Minor))
	}
	var st unix.Stat_t
	if strings.HasPrefix(m.Source, "/") && unix.Stat(m.Source, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return st.Rdev
	}
	return 0
}

// describe says in words what a file system lies on.
func describe(number uint64, m *mountinfo.Info) string {
	if number == 0 {
		return m.Source + ", no block device"
	}
	link, err := os.Readlink(sysPath(number, ""))
	if err != nil {
		return m.Source
	}
	name := filepath.Base(link)
	words := []string{name}
	disk := sysPath(number, "")
	if _, err := os.Stat(filepath.Join(disk, "partition")); err == nil {
		disk = filepath.Join(disk, "..")
	}
	if model, err := os.ReadFile(filepath.Join(disk, "device", "model")); err == nil {
		words = append(words, strings.TrimSpace(string(model)))
	}
	if file, err := os.ReadFile(filepath.Join(disk, "loop", "backing_file")); err == nil && len(file) > 0 {
		return name + ", a loop device"
	}
	switch rotates, _ := os.ReadFile(filepath.Join(disk, "queue", "rotational")); strings.TrimSpace(string(rotates)) {
	case "0":
		words = append(words, "no rotating disk")
	case "1":
		words = append(words, "a rotating disk, as far as the kernel knows")
	}
	return strings.Join(words, ", ")
}

func sysPath(number uint64, name string) string {
	return filepath.Join("/sys/dev/block", fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number)), name)
}

// Sync writes everything on the file system to its device.
func (p *Place) Sync() error {
	f, err := os.Open(p.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: p.Dir, Err: err}
	}
	return nil
}

// The columns of /sys/dev/block/*/stat, see the kernel's
// Documentation/block/stat.rst.
const (
	sectorsRead    = 2
	sectorsWritten = 6
	sector         = 512
)

// Written returns how many bytes were written to the device since it was made;
// ok is false where there is no block device.
func (p *Place) Written() (bytes int64, ok bool) { return p.counter(sectorsWritten) }

// Read returns how many bytes were read from the device, as Written.
func (p *Place) Read() (bytes int64, ok bool) { return p.counter(sectorsRead) }

func (p *Place) counter(column int) (int64, bool) {
	if p.number == 0 {
		return 0, false
	}
	raw, err := os.ReadFile(sysPath(p.number, "stat"))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(raw))
	if len(fields) <= column {
		return 0, false
	}
	sectors, err := strconv.ParseInt(fields[column], 10, 64)
	return sectors * sector, err == nil
}

// Used returns what is in use on the file system. Inodes is 0 where it does not
// count them, as btrfs: [Place.CountsInodes].
func (p *Place) Used() (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(p.Dir, &st); err != nil {
		return Space{}, &os.PathError{Op: "statfs", Path: p.Dir, Err: err}
	}
	return Space{Bytes: int64(st.Blocks-st.Bfree) * int64(st.Bsize), Inodes: int64(st.Files - st.Ffree)}, nil //nolint:gosec // they fit
}

// CountsInodes reports whether the file system counts the inodes in use.
func (p *Place) CountsInodes() bool { return p.FileSystem != "btrfs" }

// Room returns the size of the file system and how much of it is free for
// anybody.
func (p *Place) Room() (size, free int64, err error) { return room(p.Dir) }

func room(dir string) (size, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec // they fit
}

// FreeInodes returns how many more files the file system has room for; ok is
// false where only its bytes limit that, as on btrfs.
func (p *Place) FreeInodes() (n int64, ok bool, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(p.Dir, &st); err != nil {
		return 0, false, &os.PathError{Op: "statfs", Path: p.Dir, Err: err}
	}
	return int64(st.Ffree), st.Files > 0, nil //nolint:gosec // it fits
}

// drops is how often DropCaches tells the kernel to drop its caches. ext4 keeps
// the blocks of its metadata in memory as long as its journal refers to them.
// The kernel gives up these references only after it has looked for memory that
// nothing refers to, so the second time finds the blocks.
const drops = 2

// DropCaches forgets what the kernel remembers of files and directories, so
// that they are read from the device the next time. It needs root of the
// machine.
func (p *Place) DropCaches() error {
	if err := p.Sync(); err != nil {
		return err
	}
	for range drops {
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
			return err
		}
	}
	return nil
}
