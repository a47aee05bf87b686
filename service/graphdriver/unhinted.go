package graphdriver

import "github.com/layerkeep/layerkeep/diff"

// unhinted is a view without what it knows of the differences to its parents, for
// a comparison with another tree.
type unhinted struct{ diff.View }

func (v unhinted) Root() (diff.Dir, error) { return bare(v.View.Root()) }

type unhintedDir struct{ diff.Dir }

func (d unhintedDir) OpenDir(name string) (diff.Dir, error) { return bare(d.Dir.OpenDir(name)) }

func bare(d diff.Dir, err error) (diff.Dir, error) {
	if err != nil {
		return nil, err
	}
	return unhintedDir{d}, nil
}
