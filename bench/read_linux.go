package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
)

// readSuite measures reading through a stack of layers.
func readSuite() Suite {
	s := Suite{Name: "read", About: "reading through a stack of layers: how the number of layers and the kernel's caches matter"}
	for _, op := range readOps() {
		for _, cold := range []bool{false, true} {
			for _, depth := range []int{1, 10, 50, 128, 500} {
				s.Cases = append(s.Cases, readCase(op, depth, cold))
			}
		}
	}
	for _, size := range []int64{16 << 20, 64 << 20} {
		s.Cases = append(s.Cases, pageCacheCase(size))
	}
	return s
}

func readCase(op readOp, depth int, cold bool) Case {
	cache, how := "warm", ", when the kernel has it in its caches"
	if cold {
		cache, how = "cold", ", when the kernel has none of it in its caches"
	}
	shown := op.name == "walk" && !cold || op.name == "stat" && cold
	return Case{
		Name: op.name, Params: Params{{"layers", fmt.Sprint(depth)}, {"cache", cache}}, About: op.about + how,
		Quick: shown && depth == 50,
		Cannot: func(s *Subject, p *disk.Place) string {
			switch {
			case depth > 1 && s.Copies:
				return stacks(s, p)
			case cold && p.FileSystem == disk.Tmpfs:
				return "a file system in memory has no device to read from"
			}
			return ""
		},
		Start: startRead(op, depth, cold),
	}
}

const (
	// treeDirs directories with treeFiles files of treeSize bytes in each of them
	// are what is read. The lowest layer has all of the files; every layer has all
	// of the directories, so that each lookup and each readdir has to look into all
	// layers.
	treeDirs  = 10
	treeFiles = 200
	treeSize  = 4096
	// listDirs directories get one name from each layer.
	listDirs = 4
)

func treeDir(i int) string { return fmt.Sprintf("tree/d%02d", i) }

func listDir(i int) string { return fmt.Sprintf("list/d%d", i) }

// fillRead fills the layer number n of the stack that is read.
func fillRead(l *synth.Layer, n int) {
	l.Dir("tree")
	for i := range treeDirs {
		l.Dir(treeDir(i))
		for j := 0; n == 0 && j < treeFiles; j++ {
			l.File(fmt.Sprintf("%s/f%05d", treeDir(i), j), treeSize)
		}
	}
	l.Dir("list")
	for i := range listDirs {
		l.Dir(listDir(i))
		l.Text(fmt.Sprintf("%s/layer-%04d", listDir(i), n), "x")
	}
}

// treeNames are the names of what one pass looks for: the files of the tree, or
// as many that do not exist. Neighbors are in different directories.
func treeNames(pattern string) []string {
	var names []string
	for j := range treeFiles {
		for i := range treeDirs {
			names = append(names, fmt.Sprintf("%s/"+pattern, treeDir(i), j))
		}
	}
	return names
}

// A readOp is one way of reading.
type readOp struct {
	name, about string
	// names of the files or directories that one pass reads, each once.
	names []string
	// passes over all names make one warm sample: so many that it takes
	// milliseconds, and the resolution of the clock does not matter.
	passes int
	do     func(v *readView, name string) error
}

// readOps are the ways of reading.
func readOps() []readOp {
	files := treeNames("f%05d")
	var lists []string
	for i := range listDirs {
		lists = append(lists, listDir(i))
	}
	return []readOp{
		{"stat", "look up and stat a name of the lowest layer", files, 1, (*readView).stat},
		{"stat-missing", "look up a name that no layer has", treeNames("missing-%05d"), 1, (*readView).statMissing},
		{"open-read", "open, read and close a file of 4 KiB of the lowest layer", files, 1, (*readView).openRead},
		{"readdir", "read a directory to which each layer has added one name", lists, 25, (*readView).readDir},
		{"walk", "walk through 2,000 files in 10 directories that every layer has, with lstat of each, as ls -lR does", []string{"tree"}, 1, (*readView).walk},
	}
}

// A readView is a container that is read. Names are looked up from the
// descriptor of its root, so that the directories above it do not matter:
// neither how many there are, nor whether they are in the caches.
type readView struct {
	root *os.File
	buf  []byte
}

func openView(c *Container) (*readView, error) {
	root, err := os.OpenFile(c.Root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &readView{root: root, buf: make([]byte, 64<<10)}, nil
}

func (v *readView) fd() int { return int(v.root.Fd()) }

func (v *readView) stat(name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(v.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return nil
}

func (v *readView) statMissing(name string) error {
	err := v.stat(name)
	if err == nil {
		return fmt.Errorf("%s exists, and no layer has it", name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (v *readView) openRead(name string) error {
	n, err := v.open(name, 0, unix.Read)
	if err == nil && n != treeSize {
		err = &os.PathError{Op: "read", Path: name, Err: io.ErrUnexpectedEOF}
	}
	return err
}

func (v *readView) readDir(name string) error {
	n, err := v.open(name, unix.O_DIRECTORY, unix.ReadDirent)
	if err == nil && n == 0 {
		err = &os.PathError{Op: "readdir", Path: name, Err: io.ErrUnexpectedEOF}
	}
	return err
}

// open opens a file, reads it to its end, and closes it. It returns the bytes
// that read gave. It makes the system calls itself: what package os does around
// them would take as long.
func (v *readView) open(name string, flags int, read func(fd int, p []byte) (int, error)) (total int, err error) {
	fd, err := unix.Openat(v.fd(), name, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: name, Err: err}
	}
	for {
		n, err := read(fd, v.buf)
		if err != nil {
			return 0, errors.Join(&os.PathError{Op: "read", Path: name, Err: err}, unix.Close(fd))
		}
		if n == 0 {
			return total, unix.Close(fd)
		}
		total += n
	}
}

func (v *readView) walk(name string) error {
	files := 0
	err := filepath.WalkDir(fmt.Sprintf("/proc/self/fd/%d/%s", v.fd(), name), func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.IsDir() {
			files++
		}
		_, err = e.Info()
		return err
	})
	if err == nil && files != treeDirs*treeFiles {
		err = fmt.Errorf("the walk has found %d files of %d", files, treeDirs*treeFiles)
	}
	return err
}

// A readTrial reads a stack of layers in one way.
type readTrial struct {
	st      *Stage
	parents []string
	op      readOp
	cold    bool
	// copy is the container of all rounds of a subject that copies, else nil.
	copy *Container
}

func startRead(op readOp, depth int, cold bool) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		parents, err := st.StackOf(ctx, "read", depth, fillRead)
		if err != nil {
			return nil, err
		}
		t := readTrial{st: st, parents: parents, op: op, cold: cold}
		if st.Subject.Copies {
			t.copy, err = st.Start(ctx, parents...)
		}
		if err != nil {
			return nil, err
		}
		if cold {
			err = canDrop(st.Place)
		}
		if err != nil {
			return nil, errors.Join(err, t.Stop(ctx))
		}
		return t, nil
	}
}

// canDrop returns an error where the kernel's caches cannot be dropped.
func canDrop(p *disk.Place) error {
	if err := p.DropCaches(); err != nil {
		return fmt.Errorf("the kernel's caches cannot be dropped: %w", err)
	}
	return nil
}

// Round reads in a container that is new in each round. The kernel keeps what
// it has looked up by mounted file system, so nothing that was looked up in an
// earlier container is known in a new one, even if a process still uses it and
// dropping the caches would leave it.
//
// A copy is no file system of its own: a new one would not be colder than an
// old one, and all of its files would be in the caches, as they were just
// written. So the rounds of a subject that copies share one copy.
func (t readTrial) Round(ctx context.Context, r *Round) (err error) {
	c := t.copy
	if c == nil {
		if c, err = t.st.Start(ctx, t.parents...); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Stop(ctx)) }()
	}
	if t.cold {
		return t.readCold(ctx, c, r)
	}
	return t.readWarm(ctx, c, r)
}

// warmSamples is how many samples a warm round takes.
const warmSamples = 5

// readWarm adds "each", the time of one operation after everything was read
// once. One sample is the mean of some passes over all names: 2,000 lookups,
// 100 readdirs or one walk. "first" is the mean of the first pass of the new
// container: it looks up everything anew, but what the layers have is in the
// kernel's caches already, as the warm-up has read the same layers. A subject
// that copies has no such moment.
func (t readTrial) readWarm(ctx context.Context, c *Container, r *Round) error {
	v, err := openView(c)
	if err != nil {
		return err
	}
	defer v.root.Close()
	first, err := t.pass(ctx, v, 1)
	if err != nil {
		return err
	}
	for range warmSamples {
		each, err := t.pass(ctx, v, t.op.passes)
		if err != nil {
			return err
		}
		r.Add("each", Seconds, each.Seconds())
	}
	if t.copy == nil {
		r.Add("first", Seconds, first.Seconds())
	}
	return nil
}

// readCold adds "each", the mean time of one operation in a single pass over
// all names, and "read", the bytes that one operation read from the device. It
// drops the caches after the container was mounted and its root was opened, as
// both read something from the layers. What the kernel keeps even so is what is
// in use: the root directories of the container and of the layers.
func (t readTrial) readCold(ctx context.Context, c *Container, r *Round) error {
	v, err := openView(c)
	if err != nil {
		return err
	}
	defer v.root.Close()
	if err := t.st.Place.DropCaches(); err != nil {
		return err
	}
	before, counts := t.st.Place.Read()
	each, err := t.pass(ctx, v, 1)
	if err != nil {
		return err
	}
	after, _ := t.st.Place.Read()
	r.Add("each", Seconds, each.Seconds())
	if !counts {
		return nil
	}
	r.Add("read", Bytes, float64(after-before)/float64(len(t.op.names)))
	if after == before {
		r.Note("nothing was read from the device, so the kernel's caches were not empty")
	}
	return nil
}

// pass reads all names so many times, and returns the mean time for one.
func (t readTrial) pass(ctx context.Context, v *readView, times int) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	begun := time.Now()
	for range times {
		for _, name := range t.op.names {
			if err := t.op.do(v, name); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(begun) / time.Duration(times*len(t.op.names)), nil
}

func (t readTrial) Stop(ctx context.Context) error {
	if t.copy == nil {
		return nil
	}
	return t.copy.Stop(ctx)
}
