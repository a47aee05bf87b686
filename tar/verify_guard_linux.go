package tar

import (
	"io/fs"

	"github.com/layerkeep/layerkeep/diff"
)

// A guardedView is the view of the parents while the stream is read. Where the
// disk is damaged it shows nothing, and it adds a finding. Only the methods
// that resolve paths are guarded.
type guardedView struct {
	diff.View
	v *verifier
}

func (g guardedView) Root() (diff.Dir, error) {
	d, err := g.View.Root()
	if err != nil {
		return nil, g.lose(".", err)
	}
	return guardedDir{d, g, "."}, nil
}

// lose turns a damaged file into a missing file.
func (g guardedView) lose(path string, err error) error {
	if !isDamage(err) {
		return err
	}
	g.v.findings.add(Finding{Path: path, Kind: FindingUnreadable, Below: true, Err: err})
	g.v.lostAt = g.v.entries
	return fs.ErrNotExist
}

type guardedDir struct {
	diff.Dir
	view guardedView
	path string
}

func (d guardedDir) Lookup(name string) (diff.Node, error) {
	n, err := d.Dir.Lookup(name)
	if err != nil {
		return n, d.view.lose(joinPath(d.path, name), err)
	}
	return n, nil
}

// LookupXattrs returns no attributes for a damaged file. Verify then compares
// nothing else of that file.
func (d guardedDir) LookupXattrs(name string) (map[string]string, error) {
	xattrs, err := d.Dir.LookupXattrs(name)
	if err != nil && isDamage(err) {
		_ = d.view.lose(joinPath(d.path, name), err)
		return nil, nil
	}
	return xattrs, err
}

// Readlink returns an empty target for a damaged link, so no path continues
// behind it.
func (d guardedDir) Readlink(name string) (string, error) {
	target, err := d.Dir.Readlink(name)
	if err != nil && isDamage(err) {
		_ = d.view.lose(joinPath(d.path, name), err)
		return "", nil
	}
	return target, err
}

func (d guardedDir) OpenDir(name string) (diff.Dir, error) {
	p := joinPath(d.path, name)
	sub, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, d.view.lose(p, err)
	}
	return guardedDir{sub, d.view, p}, nil
}
