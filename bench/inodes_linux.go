package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
)

const inodeSuiteName = "inodes"

// inodeSuite measures what layers, images and containers take up.
func inodeSuite() Suite {
	s := Suite{Name: inodeSuiteName, About: "inodes and space of a layer, an image and a container, and what happens when inodes run out"}
	for _, shape := range shapes() {
		s.Cases = append(s.Cases, Case{
			Name: "layer", Params: Params{{"of", shape.name}}, Once: true,
			About: fmt.Sprintf("one layer of %d %s", shapeEntries, shape.name), Start: startImage(1, shape.fill),
		})
	}
	for _, layers := range []int{5, 20} {
		s.Cases = append(s.Cases, Case{
			Name: "image", Params: Params{{"layers", fmt.Sprint(layers)}}, Once: true, Quick: layers == 5,
			About: "an image of that many layers, each with 10 directories, 200 files of 4 KiB and 50 symbolic links",
			Start: startImage(layers, layerOfImage),
		})
	}
	s.Cases = append(s.Cases,
		Case{
			Name: "real-image", Once: true, Cannot: noReference, Start: startRealImage,
			About: "an image whose layers are this machine's /etc, /usr/bin, /usr/lib and /usr/share, or what fits of them",
		},
		Case{
			Name: "container", Once: true, Quick: true, Cannot: noReference, Start: startIdle,
			About: "a container that has written nothing, over an image of 20 layers",
		},
		Case{
			Name: "fill", Params: Params{{"inodes", fmt.Sprint(fewInodes)}}, Once: true, Quick: true, Cannot: fillsSmallDisk, Start: startFill,
			About: "how many containers start on a small ext4 until its inodes run out, and whether cleaning up works then",
		})
	return s
}

// noReference leaves out subjects that cannot be mounted.
func noReference(s *Subject, _ *disk.Place) string {
	if s.Name == "hardlinks" {
		return "measured with made-up layers only"
	}
	return ""
}

// shapeEntries is how many entries the layer of a shape has, without the
// directories they are in.
const shapeEntries = 2000

type shape struct {
	name string
	fill func(l *synth.Layer, layer int)
}

// shapes are layers of one kind of file each, 100 in each directory.
func shapes() []shape {
	of := func(name string, entry func(l *synth.Layer, path string, i int)) shape {
		return shape{name, func(l *synth.Layer, _ int) {
			for i := range shapeEntries {
				if i%synth.PerDir == 0 {
					l.Dir(fmt.Sprintf("d%03d", i/synth.PerDir))
				}
				entry(l, fmt.Sprintf("d%03d/e%04d", i/synth.PerDir, i), i)
			}
		}}
	}
	return []shape{
		of("symlinks", func(l *synth.Layer, path string, _ int) { l.Symlink(path, "/usr/share/doc/some/file") }),
		of("hardlinks", func(l *synth.Layer, path string, i int) {
			if i%synth.PerDir == 0 {
				l.File(path, 4096)
			} else {
				l.Link(path, fmt.Sprintf("d%03d/e%04d", i/synth.PerDir, i/synth.PerDir*synth.PerDir))
			}
		}),
		of("small-files", func(l *synth.Layer, path string, _ int) { l.File(path, 100) }),
		of("directories", func(l *synth.Layer, path string, _ int) { l.Dir(path) }),
	}
}

// What a layer of the case "image" has.
const (
	layerDirs     = 10
	layerFiles    = 200
	layerSymlinks = 50
)

func layerOfImage(l *synth.Layer, layer int) {
	for d := range layerDirs {
		dir := fmt.Sprintf("layer%03d-%02d", layer, d)
		l.Dir(dir)
		for i := range layerFiles / layerDirs {
			l.File(fmt.Sprintf("%s/f%03d", dir, i), 4096)
		}
		for i := range layerSymlinks / layerDirs {
			l.Symlink(fmt.Sprintf("%s/s%03d", dir, i), "f000")
		}
	}
}

// An image is made, looked at and removed.
type image struct {
	st     *Stage
	layers []func(*synth.Layer)
}

func startImage(layers int, fill func(l *synth.Layer, layer int)) func(context.Context, *Stage) (Trial, error) {
	return func(_ context.Context, st *Stage) (Trial, error) {
		t := image{st: st}
		for i := range layers {
			t.layers = append(t.layers, func(l *synth.Layer) { fill(l, i) })
		}
		return t, nil
	}
}

func (t image) Round(ctx context.Context, r *Round) (err error) {
	before, err := t.st.read(ctx, "")
	if err != nil {
		return err
	}
	var made []string // the nearest first
	defer func() { err = errors.Join(err, t.st.Forget(ctx, made...)) }()
	counted := int64(0)
	begun := time.Now()
	for _, fill := range t.layers {
		name, err := t.st.Make(ctx, made, fill)
		if err != nil {
			return err
		}
		made = append([]string{name}, made...)
		u, err := t.st.Store.Usage(ctx, name)
		if err != nil {
			return err
		}
		counted += u.Inodes
	}
	took := time.Since(begun)
	if err := t.st.addTaken(ctx, r, before, counted, 1); err != nil {
		return err
	}
	r.Add("made", Seconds, took.Seconds())
	return nil
}

func (t image) Stop(context.Context) error { return nil }

// An idle starts containers that write nothing.
type idle struct {
	st      *Stage
	parents []string
}

const (
	idleContainers = 10
	idleLayers     = 20
)

func startIdle(ctx context.Context, st *Stage) (Trial, error) {
	parents, err := st.Stack(ctx, "idle", idleLayers, func(l *synth.Layer) { layerOfImage(l, 0) })
	return idle{st, parents}, err
}

func (t idle) Round(ctx context.Context, r *Round) (err error) {
	before, err := t.st.read(ctx, "")
	if err != nil {
		return err
	}
	var all []*Container
	defer func() { err = errors.Join(err, t.st.StopAll(ctx, all)) }()
	counted := int64(0)
	for range idleContainers {
		c, err := t.st.Start(ctx, t.parents...)
		if err != nil {
			return err
		}
		all = append(all, c)
		if !t.st.Place.CountsInodes() {
			u, err := t.st.Store.Usage(ctx, c.Layer)
			if err != nil {
				return err
			}
			counted += u.Inodes
		}
	}
	return t.st.addTaken(ctx, r, before, counted, idleContainers)
}

// addTaken adds the inodes and the space that n things take up, which were made
// since. counted are their inodes, for a file system that does not count them.
func (st *Stage) addTaken(ctx context.Context, r *Round, before reading, counted int64, n int) error {
	now, err := st.read(ctx, "")
	if err != nil {
		return err
	}
	used := now.space.Sub(before.space)
	if !st.Place.CountsInodes() {
		used.Inodes = counted
	}
	r.Add("inodes", Inodes, float64(used.Inodes)/float64(n))
	r.Add("space", Bytes, float64(used.Bytes)/float64(n))
	return nil
}

func (t idle) Stop(context.Context) error { return nil }

// The small disk of the case "fill".
const (
	fewInodes     = 2048
	smallDisk     = 256 << 20
	mostOnSmall   = 2000
	filesOnSmall  = 100
	smallDiskName = "few-inodes-"
)

// fillsSmallDisk lets the case "fill" run once for each subject, as its disk is
// always the same.
func fillsSmallDisk(s *Subject, p *disk.Place) string {
	if p.FileSystem != "ext4" {
		return "measured where the rest is measured on ext4, on a small ext4 of its own"
	}
	return noReference(s, p)
}

// A fill starts containers on a disk of its own until it is full.
type fill struct {
	small *disk.Place
	st    *Stage
	owner *Stage
}

func startFill(ctx context.Context, st *Stage) (Trial, error) {
	small, err := st.scratch.Image(ctx, smallDiskName+st.Subject.Name, "ext4", smallDisk, "-N", fmt.Sprint(fewInodes))
	if err != nil {
		return nil, err
	}
	own, err := openStage(ctx, st.Subject, small, st.scratch)
	if err != nil {
		return nil, errors.Join(err, st.scratch.Discard(small))
	}
	return fill{small, own, st}, nil
}

func (t fill) Round(ctx context.Context, r *Round) error {
	base, err := t.st.Base(ctx, "fill", func(l *synth.Layer) { l.Files("files", filesOnSmall, 4096) })
	if err != nil {
		return err
	}
	before, err := t.st.read(ctx, "")
	if err != nil {
		return err
	}
	var all []*Container
	var full error
	for len(all) < mostOnSmall && full == nil && ctx.Err() == nil {
		var c *Container
		if c, full = t.st.Start(ctx, base); full != nil {
			break
		}
		all = append(all, c)
		full = os.WriteFile(c.Path("written"), []byte("x"), 0o600)
	}
	begun := time.Now()
	freed := t.st.StopAll(ctx, all)
	took := time.Since(begun)
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), freed)
	}
	now, err := t.st.read(ctx, "")
	if err != nil {
		return err
	}
	r.Add("containers", Count, float64(len(all)))
	r.Add("freed", Seconds, took.Seconds())
	r.Note(fillNote(full, freed, now.space.Inodes-before.space.Inodes))
	return nil
}

// fillNote says in words what happened on a full disk.
func fillNote(full, freed error, left int64) string {
	var words []string
	switch {
	case full == nil:
		words = append(words, fmt.Sprintf("%d containers started, and the disk is not full", mostOnSmall))
	case errors.Is(full, unix.ENOSPC), errors.Is(full, unix.EDQUOT):
		words = append(words, "the next one failed, no space left: "+firstLine(full))
	default:
		words = append(words, "the next one failed for another reason: "+firstLine(full))
	}
	switch {
	case freed != nil:
		words = append(words, "cleaning up failed: "+firstLine(freed))
	case left > 0:
		words = append(words, fmt.Sprintf("cleaning up worked, but %d inodes did not come back", left))
	default:
		words = append(words, "cleaning up worked, and all inodes came back")
	}
	return strings.Join(words, "; ")
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func (t fill) Stop(context.Context) error {
	return errors.Join(t.st.close(), t.owner.scratch.Discard(t.small))
}
