package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
)

// The public experiment that is often quoted
// (chriskuehl/docker-storage-benchmark): a line is appended to every file of an
// image, in one or in many containers at once. Its published figures for the
// tree with 100 containers: aufs 340 s, overlay2 91 s, device mapper 12.5 s, no
// container 10.6 s. There each container is one of Docker's; here it is a
// mount, and what appends is a thread of this program.

// An experiment is an image and how many bytes all of its files have.
type experiment struct {
	name, about string
	fill        func(*synth.Layer)
	bytes       int64
	files       int
}

// The image of large files: five of each size.
const (
	largeEach = 5
	largeMost = 128 << 20
)

// The tree: each directory has four, seven deep.
const (
	treeFan   = 4
	treeDepth = 7
)

func experimentImages() []experiment {
	large := func(l *synth.Layer) {
		for size := int64(1 << 20); size <= largeMost; size *= 2 {
			for i := range largeEach {
				l.File(fmt.Sprintf("large-%03d-%d", size>>20, i), size)
			}
		}
	}
	return []experiment{
		{"append-large", "append one line to each of 40 files of 1 to 128 MB", large, largeEach * (2*largeMost - 1<<20), 8 * largeEach},
		{"append-small", "append one line to each of 10,000 small files", func(l *synth.Layer) { l.Files("small", 10_000, 100) }, 10_000 * 4096, 10_000},
		{"append-tree", "append one line to the file in each of 16,384 leaves of a tree", func(l *synth.Layer) { tree(l, "tree", treeDepth) }, 22_000 * 4096, 16_384},
	}
}

func tree(l *synth.Layer, dir string, depth int) {
	l.Dir(dir)
	if depth == 0 {
		l.Text(dir+"/file", "line\n")
		return
	}
	for i := range treeFan {
		tree(l, fmt.Sprintf("%s/%d", dir, i), depth-1)
	}
}

func experiments() []Case {
	var cases []Case
	for _, e := range experimentImages() {
		for _, containers := range []int{1, 10, 100} {
			cases = append(cases, Case{
				Name: e.name, Params: Params{{"containers", fmt.Sprint(containers)}}, About: e.about + ", in that many containers at once",
				Once: containers == 100, Times: containers, Cannot: e.cannot(containers),
				Start: func(ctx context.Context, st *Stage) (Trial, error) { return e.start(ctx, st, containers) },
			})
		}
	}
	return cases
}

// cannot leaves out what does not fit: an image, and each file again in each
// container.
func (e experiment) cannot(containers int) func(*Subject, *disk.Place) string {
	return func(s *Subject, p *disk.Place) string {
		need := e.bytes * int64(containers+2)
		if p.FileSystem == disk.Tmpfs && need > 1<<30 {
			return "not measured in memory, as it takes too much of it"
		}
		if _, free, err := p.Room(); err == nil && need > free {
			return fmt.Sprintf("it may take %d GiB, and %d are free", need>>30, free>>30)
		}
		return noReference(s, p)
	}
}

// An appending is an experiment for one subject.
type appending struct {
	st         *Stage
	base       string
	containers int
	files      int
}

func (e experiment) start(ctx context.Context, st *Stage, containers int) (Trial, error) {
	base, err := st.Base(ctx, e.name, e.fill)
	return appending{st, base, containers, e.files}, err
}

func (t appending) Round(ctx context.Context, r *Round) (err error) {
	all, err := t.st.StartAll(ctx, t.containers, t.base)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.st.StopAll(ctx, all)) }()
	return t.st.addCost(ctx, r, "", 1, 1, func() error {
		return addTime(r, func() error {
			return atOnce(all, len(all), func(c *Container) error { return appendAll(ctx, c.Root, t.files) })
		})
	})
}

func (t appending) Stop(context.Context) error { return nil }

// appendAll appends a line to each file below a directory, of which there are
// n.
func appendAll(ctx context.Context, root string, n int) error {
	root, err := filepath.EvalSymlinks(root) // that of a plain directory is a link
	if err != nil {
		return err
	}
	done := 0
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || !e.Type().IsRegular() {
			return err
		}
		done++
		return appendLine(path)
	})
	if err == nil && done != n {
		err = fmt.Errorf("%s has %d files, not %d", root, done, n)
	}
	return err
}

func appendLine(path string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("one more line\n")
	return errors.Join(err, f.Close())
}
