package tar

import (
	"context"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A comparison walks the merged tree together with the nodes and marks of the
// layer and with the tree of the layers below. For each path it knows what
// Merge makes of it, see merger.
type comparison struct {
	ctx      context.Context
	readData bool
	userNS   bool
	findings *collector
	links    *fileLinks

	// uncertain has the findings about times that only lack fractions of a second.
	// They count only if another time shows that the file system stores fractions.
	uncertain *collector
	fractions bool

	// merged and below open files by path.
	merged, below *parentTree
	buf, other    []byte
}

// A pairDir is one directory of the comparison.
type pairDir struct {
	path   string
	node   *node // nil if the layer makes nothing here
	mark   *mark // nil if the layer removes nothing here
	merged diff.Dir
	below  diff.Dir // the directory of the layers below that must show through; nil if none must
	hinted bool     // merged may be asked for hints
}

func (c *comparison) run(parents, merged diff.View, root *node, marks *mark) error {
	d := &pairDir{path: ".", node: root, mark: marks, hinted: true}
	var err error
	if d.merged, err = merged.Root(); err != nil {
		return c.findings.bear(".", false, err)
	}
	defer d.merged.Close()
	if parents != nil {
		if d.below, err = parents.Root(); err != nil {
			return c.findings.bear(".", true, err)
		}
		defer d.below.Close()
	}
	if err := c.root(d); err != nil {
		return err
	}
	if marks.opaque {
		d.below = nil
	}
	if err := c.dir(d); err != nil {
		return err
	}
	if c.fractions {
		c.findings.join(c.uncertain)
	}
	return nil
}

// root compares the attributes of the root directory.
func (c *comparison) root(d *pairDir) error {
	want := &expected{stat: impliedAttrs().node()}
	if d.node.explicit {
		want = expectedDir(d.node.dir.attrs)
	} else if d.below != nil {
		n, err := d.below.Stat()
		if err != nil {
			return c.findings.bear(".", true, err)
		}
		xattrs, err := d.below.Xattrs()
		if err != nil {
			return c.findings.bear(".", true, err)
		}
		want = &expected{stat: n, shown: xattrs, below: true}
	}
	want.stat.Mode = want.stat.Perm() | diff.TypeDir
	n, err := d.merged.Stat()
	if err != nil {
		return c.findings.bear(".", false, err)
	}
	return c.attributes(".", want, &n, d.merged.Xattrs)
}

// dir compares the content of a directory.
func (c *comparison) dir(d *pairDir) error {
	names, descend, err := c.names(d)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if err := c.name(d, name, descend[name]); err != nil {
			return err
		}
	}
	return nil
}

// names returns the names in a directory that may be wrong, sorted. descend has
// the names of directories of which only the content may be wrong. Hints say
// where merged differs from the layers below, so names uses them only where the
// layers below must show through.
func (c *comparison) names(d *pairDir) (names []string, descend map[string]bool, err error) {
	hinted := false
	if h, ok := d.merged.(diff.Hinter); ok && d.hinted && d.below != nil {
		var hints []diff.Hint
		if hints, hinted, err = h.Hints(); err != nil {
			return nil, nil, c.findings.bear(d.path, false, err)
		}
		for _, h := range hints {
			names = append(names, h.Name)
			if h.Descend {
				if descend == nil {
					descend = map[string]bool{}
				}
				descend[h.Name] = true
			}
		}
	}
	if d.hinted = hinted; !hinted {
		names, descend = nil, nil
		if names, err = d.merged.Names(); err != nil {
			return nil, nil, c.findings.bear(d.path, false, err)
		}
		if d.below != nil {
			old, err := d.below.Names()
			if err != nil {
				return nil, nil, c.findings.bear(d.path, true, err)
			}
			names = append(names, old...)
		}
	}
	names = slices.DeleteFunc(names, reserved)
	if d.node != nil {
		for n := range d.node.dir.children.all() {
			if !n.hidden {
				names = append(names, n.name)
			}
		}
	}
	if d.mark != nil {
		names = append(names, d.mark.names()...)
	}
	slices.Sort(names)
	return slices.Compact(names), descend, nil
}

// reserved reports whether no layer can give a file this name.
func reserved(name string) bool { return strings.HasPrefix(name, whiteout.Prefix) }

// unfit reports whether diffs leave a file out, because no layer can contain
// it.
func unfit(n *diff.Node) bool {
	return n.Type() == diff.TypeSocket || n.Type() == diff.TypeChar && n.Rdev == 0
}

// name compares one name of a directory.
func (c *comparison) name(d *pairDir, name string, descend bool) error {
	p := joinPath(d.path, name)
	var n *node
	if d.node != nil {
		n = d.node.child(name)
	}
	m := d.mark.child(name)
	if n != nil && n.kind != kindDir {
		return c.file(d, p, n)
	}
	under, shows, err := lookupIn(d.below, name)
	if err != nil {
		return c.findings.bear(p, true, err)
	}
	removed := shows && m != nil && m.whiteout
	shows = shows && !removed
	switch {
	case n != nil:
		if n.cut || !under.IsDir() {
			shows = false
		}
		return c.madeDir(d, p, n, m, &under, shows)
	case shows:
		return c.untouched(d, p, name, m, &under, descend)
	default:
		return c.nothing(d, p, name, removed)
	}
}

// nothing reports a name that must not exist.
func (c *comparison) nothing(d *pairDir, p, name string, removed bool) error {
	got, exists, err := lookupChild(d.merged, name)
	if err != nil {
		return c.findings.bear(p, false, err)
	}
	if !exists || unfit(&got) {
		return nil
	}
	f := Finding{Path: p, Kind: FindingExtra, Got: typeName(&got)}
	if removed {
		f.Want = "removes it"
	}
	c.findings.add(f)
	return nil
}

// lookup looks up a name that must exist with a given type. It returns nil if
// it does not, because then nothing else can be compared.
func (c *comparison) lookup(d *pairDir, p string, want *expected) (*diff.Node, error) {
	_, name := splitPath(p)
	got, exists, err := lookupChild(d.merged, name)
	switch {
	case err != nil:
		return nil, c.findings.bear(p, false, err)
	case !exists, want.below && unfit(&got) && !unfit(&want.stat):
		c.findings.add(Finding{Path: p, Kind: FindingMissing, Below: want.below, Want: typeName(&want.stat)})
		return nil, nil
	case got.Type() != want.stat.Type():
		c.findings.add(Finding{Path: p, Kind: FindingType, Below: want.below, Want: typeName(&want.stat), Got: typeName(&got)})
		return nil, nil
	}
	return &got, nil
}

// madeDir compares a directory that the layer makes. under is the file of the
// layers below at the same path. It shows through if shows is true.
func (c *comparison) madeDir(d *pairDir, p string, n *node, m *mark, under *diff.Node, shows bool) error {
	var want *expected
	_, name := splitPath(p)
	switch {
	case n.explicit:
		want = expectedDir(n.dir.attrs)
	case shows:
		xattrs, err := d.below.LookupXattrs(name)
		if err != nil {
			return c.findings.bear(p, true, err)
		}
		want = &expected{stat: *under, shown: xattrs, below: true}
	default:
		want = expectedDir(impliedAttrs())
	}
	got, err := c.lookup(d, p, want)
	if got == nil || err != nil {
		return err
	}
	if err := c.attributes(p, want, got, func() (map[string]string, error) { return d.merged.LookupXattrs(name) }); err != nil {
		return err
	}
	return c.subdir(d, p, n, m, shows)
}

// subdir compares the content of a subdirectory.
func (c *comparison) subdir(d *pairDir, p string, n *node, m *mark, shows bool) error {
	_, name := splitPath(p)
	next := &pairDir{path: p, node: n, mark: m, hinted: d.hinted}
	var err error
	if next.merged, err = d.merged.OpenDir(name); err != nil {
		return c.findings.bear(p, false, err)
	}
	defer next.merged.Close()
	if shows && (m == nil || !m.opaque) {
		if next.below, err = d.below.OpenDir(name); err != nil {
			return c.findings.bear(p, true, err)
		}
		defer next.below.Close()
	}
	return c.dir(next)
}

// untouched compares a file that must be as the layers below have it.
func (c *comparison) untouched(d *pairDir, p, name string, m *mark, under *diff.Node, descend bool) error {
	want := &expected{stat: *under, below: true}
	got, err := c.lookup(d, p, want)
	if got == nil || err != nil {
		return err
	}
	if !got.IsDir() {
		return c.untouchedFile(d, p, name, want, got)
	}
	if !descend {
		if want.shown, err = d.below.LookupXattrs(name); err != nil {
			return c.findings.bear(p, true, err)
		}
		if err := c.attributes(p, want, got, func() (map[string]string, error) { return d.merged.LookupXattrs(name) }); err != nil {
			return err
		}
	}
	return c.subdir(d, p, nil, m, true)
}
