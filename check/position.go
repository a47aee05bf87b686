package check

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// A Position is the place that a check has reached, for Options.After of a
// later check. Only this package reads it. Empty: the beginning.
type Position string

// ErrNoPosition: Options.After is not a position that a check has reported.
var ErrNoPosition = errors.New("not a position of a check")

// The stages of a check, in their order, and how a position begins.
const (
	atSnapshot = iota
	atLayer    // one that no snapshot has
	atImage
	atBlob
)

var stages = [...]string{atSnapshot: "snapshot", atLayer: "layer", atImage: "image", atBlob: "blob"}

// A place is one thing that is looked at: its stage, and its order there.
type place struct {
	stage int
	depth int // of a snapshot: how many there are below it, and itself
	name  string
}

func (p place) position() Position {
	if p.stage == atSnapshot {
		return Position(fmt.Sprintf("snapshot:%d:%s", p.depth, p.name))
	}
	return Position(stages[p.stage] + ":" + p.name)
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.stage, q.stage), cmp.Compare(p.depth, q.depth), cmp.Compare(p.name, q.name))
}

// place reads a position. That of the beginning is before all others.
func (p Position) place() (place, error) {
	if p == "" {
		return place{stage: -1}, nil
	}
	stage, name, ok := strings.Cut(string(p), ":")
	for i, s := range stages {
		if !ok || s != stage {
			continue
		}
		if i != atSnapshot {
			return place{stage: i, name: name}, nil
		}
		depth, name, ok := strings.Cut(name, ":")
		n, err := strconv.Atoi(depth)
		if !ok || err != nil || n < 0 {
			break
		}
		return place{stage: i, depth: n, name: name}, nil
	}
	return place{}, fmt.Errorf("%w: %q", ErrNoPosition, string(p))
}

// placeOf is that of a layer. Parents come first, whatever is made meanwhile.
func placeOf(l snapshotter.Layer) place {
	if l.Name == "" {
		return place{stage: atLayer, name: string(l.ID)}
	}
	return place{stage: atSnapshot, depth: l.Depth, name: l.Name}
}

// passed reports whether an earlier check has looked at what is in a place.
func (c *checker) passed(p place) bool { return p.compare(c.after) <= 0 }

// reached tells that this check has.
func (c *checker) reached(p place) {
	if c.opts.Reached != nil {
		c.opts.Reached(p.position(), c.sum)
	}
}

// parentDamaged reports whether what a layer stands on is damaged. Where only
// an earlier check has looked at it, that is found out again, without a word.
func (c *checker) parentDamaged(l snapshotter.Layer) (bool, error) {
	var chain []snapshotter.Layer
	key := l.Parent
	for range c.layers[l.Parent].Depth {
		chain = append(chain, c.layers[key])
		key = c.layers[key].Parent
	}
	for _, below := range slices.Backward(chain) {
		if c.passed(placeOf(below)) && !c.again[below.Name] {
			if err := c.newTrial().layer(below); err != nil { // what it finds is not told
				return false, err
			}
			c.again[below.Name] = true
		}
		if c.damaged[below.Parent] {
			c.damaged[below.Name] = true
		}
	}
	if c.damaged[l.Parent] {
		c.damaged[l.Name] = true
	}
	return c.damaged[l.Parent], nil
}

// passLayer notes what an earlier check has read with a layer, so that it is
// not read again.
func (c *checker) passLayer(l snapshotter.Layer) {
	if d := digest.Digest(l.Labels[image.LabelBlob]); d != "" && l.Labels[image.LabelLayer] != "" {
		c.blobs[d] = true
	}
}

// passImage is passLayer for an image.
func (c *checker) passImage(img image.Image) {
	c.blobs[img.Target.Digest], c.blobs[img.Config.Digest] = true, true
	for _, l := range img.Layers {
		c.blobs[l.Blob.Digest] = true
	}
}
