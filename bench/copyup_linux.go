package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
)

// copyUpSuite measures the first write to what an image holds.
func copyUpSuite() Suite {
	s := Suite{Name: "copy-up", About: "the first write to a file of an image: the time it takes, what it writes, what it takes up"}
	for _, size := range []int64{0, 4 << 10, 64 << 10, 1 << 20, 64 << 20, 1 << 30} {
		s.Cases = append(s.Cases, Case{
			Name: "size", Params: Params{{"size", sizeText(size)}}, Variants: true,
			About: "append one byte to a file of that size",
			Quick: size == 1<<20, Cannot: fits(size),
			Start: startCopyUp(appendOne, size, 1),
		})
	}
	for _, op := range operations() {
		if op.name == appendOne.name {
			continue
		}
		s.Cases = append(s.Cases, Case{
			Name: op.name, Params: Params{{"size", sizeText(1 << 20)}}, Variants: true, About: op.about,
			Quick: op.name == "chmod", Start: startCopyUp(op, 1<<20, 1),
		})
	}
	for _, entries := range []int{1, 1000, 10_000} {
		s.Cases = append(s.Cases, Case{
			Name: "rename-directory", Params: Params{{"entries", fmt.Sprint(entries)}}, Variants: true,
			About: "rename a directory of the image with that many files",
			Start: startRenameDir(entries),
		})
	}
	for _, depth := range []int{1, 10, 50, 128, 500} {
		s.Cases = append(s.Cases, Case{
			Name: "depth", Params: Params{{"layers", fmt.Sprint(depth)}}, Cannot: stacks,
			About: "append one byte to a file of 64 KiB in the lowest of that many layers",
			Quick: depth == 50, Start: startCopyUp(appendOne, 64<<10, depth),
		})
	}
	for _, files := range []int{1000, 20_000} {
		s.Cases = append(s.Cases, Case{
			Name: "chown-all", Params: Params{{"files", fmt.Sprint(files)}}, Variants: true,
			About: "chown -R over that many files of the image",
			Quick: files == 1000, Start: startChownAll(files),
		})
	}
	return s
}

// sizeText is a size as 4KiB or 1GiB.
func sizeText(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%d%s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprint(n)
}

// fits keeps files out of memory that are too large for it.
func fits(size int64) func(*Subject, *disk.Place) string {
	const inMemory = 64 << 20
	return func(_ *Subject, p *disk.Place) string {
		if p.FileSystem == disk.Tmpfs && size > inMemory {
			return "files of this size are not measured in memory"
		}
		return ""
	}
}

// stacks leaves out subjects for which the number of layers makes no
// difference.
func stacks(s *Subject, _ *disk.Place) string {
	if s.Copies {
		return "each of its layers is a whole copy, so there is no stack"
	}
	return ""
}

// An operation is done to a file of an image.
type operation struct {
	name, about string
	do          func(path string) error
	// again: it can be done to the same file once more.
	again bool
}

var appendOne = operation{"append", "append one byte", func(path string) error {
	return write(path, os.O_APPEND, -1)
}, true}

// operations are what is done to a file.
func operations() []operation {
	return []operation{
		appendOne,
		{"overwrite", "overwrite one byte in the middle of a file", func(path string) error {
			st, err := os.Stat(path)
			if err != nil {
				return err
			}
			return write(path, 0, st.Size()/2)
		}, true},
		{"truncate", "cut a file to half its size", func(path string) error {
			st, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, st.Size()/2)
		}, true},
		{"chmod", "change the mode of a file", func(path string) error { return os.Chmod(path, 0o600) }, true},
		{"chown", "change the owner of a file", func(path string) error { return os.Chown(path, 1, 1) }, true},
		{"utimes", "change the times of a file", func(path string) error {
			return os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0))
		}, true},
		{"setxattr", "set an extended attribute of a file", func(path string) error {
			return unix.Setxattr(path, "trusted.bench", []byte("x"), 0)
		}, true},
		{"open", "open a file for writing, and write nothing", func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			return f.Close()
		}, true},
		{"rename", "rename a file", func(path string) error { return os.Rename(path, path+".new") }, false},
		{"link", "give a file a second name", func(path string) error { return os.Link(path, path+".new") }, false},
		{"unlink", "remove a file", os.Remove, false},
	}
}

// write writes one byte at a place in a file, at its end if that is negative.
func write(path string, flags int, at int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0)
	if err != nil {
		return err
	}
	if at < 0 {
		_, err = f.Write([]byte{'x'})
	} else {
		_, err = f.WriteAt([]byte{'x'}, at)
	}
	return errors.Join(err, f.Close())
}

// filesOf is how many files of a size one round writes to.
func filesOf(size int64) int {
	switch {
	case size <= 64<<10:
		return 32
	case size <= 1<<20:
		return 8
	case size <= 64<<20:
		return 2
	}
	return 1
}

// A copyUp does an operation to each file of an image.
type copyUp struct {
	st      *Stage
	parents []string
	files   int
	op      operation
}

func startCopyUp(op operation, size int64, depth int) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		n := filesOf(size)
		parents, err := st.Stack(ctx, "copy-up "+sizeText(size), depth, func(l *synth.Layer) { l.Files("files", n, size) })
		return copyUp{st, parents, n, op}, err
	}
}

func (t copyUp) Round(ctx context.Context, r *Round) error {
	return t.st.In(ctx, t.parents, func(c *Container) error {
		err := t.st.addCost(ctx, r, c.Layer, t.files, t.files, func() error { return t.each(ctx, c, r, "first") })
		if err != nil || !t.op.again {
			return err
		}
		if err := t.each(ctx, c, r, "second"); err != nil {
			return err
		}
		return t.addShared(c, r)
	})
}

// each does the operation to each file, and adds how long it took.
func (t copyUp) each(ctx context.Context, c *Container, r *Round, metric string) error {
	for i := range t.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := c.Path(synth.FileName("files", i))
		took, err := timed(func() error { return t.op.do(path) })
		if err != nil {
			return err
		}
		r.Add(metric, Seconds, took)
	}
	return nil
}

// addShared adds how much of the files' data is shared with the image.
func (t copyUp) addShared(c *Container, r *Round) error {
	if t.st.Place.FileSystem == disk.Tmpfs {
		return nil
	}
	var total, shared int64
	for i := range t.files {
		f, err := os.Open(c.Path(synth.FileName("files", i)))
		if err != nil {
			return err
		}
		all, both, err := disk.Extents(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		total, shared = total+all, shared+both
	}
	if total > 0 {
		r.Add("shared", Share, float64(shared)/float64(total))
	}
	return nil
}

func (t copyUp) Stop(context.Context) error { return nil }

// A renameDir renames a directory of an image.
type renameDir struct {
	st   *Stage
	base string
}

func startRenameDir(entries int) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		base, err := st.Base(ctx, fmt.Sprint("directory of ", entries), func(l *synth.Layer) {
			l.Dir("dir")
			for i := range entries {
				l.File(fmt.Sprintf("dir/f%06d", i), 64)
			}
		})
		return renameDir{st, base}, err
	}
}

func (t renameDir) Round(ctx context.Context, r *Round) error {
	return t.st.In(ctx, []string{t.base}, func(c *Container) error {
		before, err := t.st.read(ctx, c.Layer)
		if err != nil {
			return err
		}
		took, err := timed(func() error { return rename(ctx, c.Path("dir"), c.Path("new"), r) })
		if err != nil {
			return err
		}
		r.Add("first", Seconds, took)
		return t.st.addSince(ctx, r, before, c.Layer, 1)
	})
}

// rename renames a directory, as mv does where the kernel refuses to.
func rename(ctx context.Context, from, to string, r *Round) error {
	err := os.Rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	r.Note("the kernel refuses to rename it, so mv copies every file: the time is that of mv")
	if out, err := exec.CommandContext(ctx, "mv", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("mv: %w: %s", err, out)
	}
	return nil
}

func (t renameDir) Stop(context.Context) error { return nil }

// A chownAll gives all files of an image to another owner.
type chownAll struct {
	st    *Stage
	base  string
	files int
}

func startChownAll(files int) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		base, err := st.Base(ctx, fmt.Sprint(files, " files"), func(l *synth.Layer) { l.Files("files", files, 4096) })
		return chownAll{st, base, files}, err
	}
}

func (t chownAll) Round(ctx context.Context, r *Round) error {
	return t.st.In(ctx, []string{t.base}, func(c *Container) error {
		return t.st.addCost(ctx, r, c.Layer, t.files, 1, func() error {
			took, err := timed(func() error { return chownTree(c.Path("files")) })
			r.Add("all", Seconds, took)
			return err
		})
	})
}

func chownTree(root string) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 1000, 1000)
	})
}

func (t chownAll) Stop(context.Context) error { return nil }
