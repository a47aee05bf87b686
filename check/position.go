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

// The stages of a check, in order.
const (
	atSnapshot = iota
	atLayer    // a layer that has no snapshot
	atImage
	atBlob
)

var stages = [...]string{atSnapshot: "snapshot", atLayer: "layer", atImage: "image", atBlob: "blob"}

// A place is one thing that is checked: its stage, and its order within the
// stage.
type place struct {
	stage int
	depth int // for a snapshot: its number of parents, plus one
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

// place parses a position. The empty position is before all others.
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

// placeOf returns the place of a layer. Parents come first, even if snapshots
// are made during the check.
func placeOf(l snapshotter.Layer) place {
	if l.Name == "" {
		return place{stage: atLayer, name: string(l.ID)}
	}
	return place{stage: atSnapshot, depth: l.Depth, name: l.Name}
}

// passed reports whether an earlier check has already checked the place.
func (c *checker) passed(p place) bool { return p.compare(c.after) <= 0 }

// reached reports the position to the caller.
func (c *checker) reached(p place) {
	if c.opts.Reached != nil {
		c.opts.Reached(p.position(), c.sum)
	}
}

// parentDamaged reports whether the parent of a layer is damaged, or a layer
// below that. Where only an earlier check has examined these layers, it
// examines them again without reporting.
func (c *checker) parentDamaged(l snapshotter.Layer) (bool, error) {
	var chain []snapshotter.Layer
	key := l.Parent
	for range c.layers[l.Parent].Depth {
		chain = append(chain, c.layers[key])
		key = c.layers[key].Parent
	}
	for _, below := range slices.Backward(chain) {
		if c.passed(placeOf(below)) && !c.again[below.Name] {
			if err := c.newTrial().layer(below); err != nil { // the findings of this trial are dropped
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

// passLayer records the blob that an earlier check has read together with a
// layer, so that it is not read again.
func (c *checker) passLayer(l snapshotter.Layer) {
	if d := digest.Digest(l.Labels[image.LabelBlob]); d != "" && l.Labels[image.LabelLayer] != "" {
		c.blobs[d] = true
	}
}

// passImage does the same as passLayer for an image.
func (c *checker) passImage(img image.Image) {
	c.blobs[img.Target.Digest], c.blobs[img.Config.Digest] = true, true
	for _, l := range img.Layers {
		c.blobs[l.Blob.Digest] = true
	}
}
