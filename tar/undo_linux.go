package tar

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// An undoLog records, step by step, how to undo what a merge has changed in the
// target. A few steps stay in memory. A directory of millions of names has
// millions of steps, so the rest goes to a file without a name in the staging
// directory.
type undoLog struct {
	dirs []undoDir // the directories of the target that were changed
	buf  []byte    // the last steps
	file *os.File
	size int64   // of the content of the file, in bytes
	ends []int64 // the end offset of each write to the file; no step is split between two writes
}

// An undoDir is a directory of the target, found through the directory above
// it. The log does not keep it open and does not store its path, because there
// may be thousands of nested directories.
type undoDir struct {
	above int32 // index in dirs; -1 for the root
	name  string
	id    sys.Identity
}

type undoKind uint8

const (
	undoAttrs      undoKind = iota // set the attributes
	undoOpaque                     // clear the opaque mark
	undoWhiteout                   // clear the whiteout of the name
	undoMovedAside                 // move the name back from the trash
	undoMovedIn                    // move the name out of the target again
)

type undoStep struct {
	kind  undoKind
	dir   int32
	name  string
	aside int // for undoMovedAside: its number in the trash
	attrs attributes
}

const undoBuffer = 1 << 20

// note records how to undo a change in a directory of the target, before the
// change is made. So undoing a step whose change was never made must do no
// harm.
func (g *merger) note(l *level, s undoStep) error {
	if err := g.undoDir(l); err != nil {
		return err
	}
	u := &g.undo
	start := len(u.buf)
	u.buf = append(u.buf, byte(s.kind))
	u.buf = binary.AppendUvarint(u.buf, uint64(l.undo-1))
	u.buf = binary.AppendUvarint(u.buf, uint64(s.aside))
	u.buf = append(binary.AppendUvarint(u.buf, uint64(len(s.name))), s.name...)
	if s.kind == undoAttrs {
		u.buf = s.attrs.append(u.buf)
	}
	// rollBack reads the steps backward from the last, so the length follows each
	// step.
	u.buf = binary.NativeEndian.AppendUint32(u.buf, uint32(len(u.buf)-start))
	if len(u.buf) >= undoBuffer && u.write(g.src) == nil {
		u.buf = u.buf[:0] // else the steps stay in memory: a full disk must not leave a torn layer
	}
	return nil
}

// undoDir adds the directory of a level to the log, if it is not there yet.
func (g *merger) undoDir(l *level) error {
	if l.undo > 0 {
		return nil
	}
	above := int32(-1)
	if l.up != nil {
		if l.up.undo == 0 {
			return errors.New("merge: nothing was noted of the directory above")
		}
		above = l.up.undo - 1
	}
	id, _, err := sys.Identify(l.dst.fd)
	if err != nil {
		return err
	}
	g.undo.dirs = append(g.undo.dirs, undoDir{above, l.name, id})
	l.undo = int32(len(g.undo.dirs))
	return nil
}

func (u *undoLog) write(staging int) (err error) {
	if u.file == nil {
		if u.file, err = openSpool(staging); err != nil {
			return err
		}
	}
	if _, err := u.file.WriteAt(u.buf, u.size); err != nil {
		return err
	}
	u.size += int64(len(u.buf))
	u.ends = append(u.ends, u.size)
	return nil
}

func (u *undoLog) close() {
	if u.file != nil {
		u.file.Close()
	}
}

// rollBack undoes all steps, the last one first. It continues after an error,
// and returns the first few errors.
func (g *merger) rollBack() error {
	b := &backward{g: g, at: -1, fd: -1}
	defer b.close()
	u := &g.undo
	b.steps(u.buf)
	for i := len(u.ends) - 1; i >= 0; i-- {
		start := int64(0)
		if i > 0 {
			start = u.ends[i-1]
		}
		part := make([]byte, u.ends[i]-start)
		if _, err := u.file.ReadAt(part, start); err != nil {
			b.failed(err)
			break
		}
		b.steps(part)
	}
	return errors.Join(b.errs...)
}

// backward undoes steps. It keeps the directory of the last step open, because
// the next step is often in the same directory.
type backward struct {
	g    *merger
	at   int32 // the open directory; -1 if there is none
	fd   int
	errs []error
}

const maxUndoErrors = 10

func (b *backward) failed(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && len(b.errs) < maxUndoErrors {
		b.errs = append(b.errs, err)
	}
}

func (b *backward) steps(list []byte) {
	for len(list) > 0 {
		length := int(binary.NativeEndian.Uint32(list[len(list)-4:]))
		list = list[:len(list)-4]
		s, err := readStep(list[len(list)-length:])
		list = list[:len(list)-length]
		if err == nil {
			err = b.enter(s.dir)
		}
		if err == nil {
			err = b.g.takeBack(b.fd, &s)
		}
		b.failed(err)
	}
}

func readStep(b []byte) (s undoStep, err error) {
	number := func() int {
		v, n := binary.Uvarint(b)
		b = b[max(n, 0):]
		return int(v)
	}
	s.kind, b = undoKind(b[0]), b[1:]
	s.dir, s.aside = int32(number()), number()
	n := number()
	s.name, b = string(b[:n]), b[n:]
	if s.kind == undoAttrs {
		s.attrs, err = readAttrs(b)
	}
	return s, err
}

// takeBack undoes one step.
func (g *merger) takeBack(dst int, s *undoStep) error {
	switch s.kind {
	case undoAttrs:
		return g.setDirAttrs(dst, s.attrs, nil)
	case undoOpaque:
		return g.enc.ClearOpaque(dst)
	case undoWhiteout:
		return g.enc.ClearWhiteout(dst, s.name)
	case undoMovedAside:
		return sys.Renameat2(g.trash, strconv.Itoa(s.aside), dst, s.name, 0)
	case undoMovedIn:
		if err := g.openTrash(); err != nil {
			return err
		}
		return sys.Renameat2(dst, s.name, g.trash, strconv.Itoa(g.unique()), 0)
	}
	return nil
}

// enter opens a directory of the log, and closes the one before.
func (b *backward) enter(dir int32) error {
	if dir == b.at {
		return nil
	}
	dirs := b.g.undo.dirs
	fd, err := -1, error(nil)
	if b.at >= 0 && dirs[b.at].above == dir {
		fd, err = sys.OpenAbove(b.fd, dirs[dir].id)
	}
	if fd < 0 {
		fd, err = b.open(dir)
	}
	b.close()
	if err == nil {
		b.at, b.fd = dir, fd
	}
	return err
}

// open opens a directory from the root, one name at a time, and does not follow
// symbolic links.
func (b *backward) open(dir int32) (int, error) {
	var names []string
	for d := b.g.undo.dirs[dir]; d.above >= 0; d = b.g.undo.dirs[d.above] {
		names = append(names, d.name)
	}
	fd, err := sys.OpenDirat(b.g.root, ".")
	for i := len(names) - 1; err == nil && i >= 0; i-- {
		var next int
		next, err = sys.OpenDirat(fd, names[i])
		unix.Close(fd)
		fd = next
	}
	return fd, err
}

func (b *backward) close() {
	if b.at >= 0 {
		unix.Close(b.fd)
	}
	b.at, b.fd = -1, -1
}
