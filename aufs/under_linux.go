package aufs

import "github.com/layerkeep/layerkeep/diff"

// under is the directory of the parents' view that one of a branch merges with.
// It is opened when it is asked for: most branches hide nothing in most of
// their directories.
type under struct {
	open   func() (diff.Dir, error) // nil: merges with none
	opened diff.Dir
}

// dir returns nil when there is none. It is closed with u.
func (u *under) dir() (diff.Dir, error) {
	if u.open == nil || u.opened != nil {
		return u.opened, nil
	}
	d, err := u.open()
	if err != nil {
		return nil, err
	}
	u.opened = d
	return d, nil
}

func (u *under) close() {
	if u.opened != nil {
		// It was only read.
		_ = u.opened.Close()
	}
}

// opener opens a child of d when it is called, before d is closed.
func opener(d diff.Dir, name string) func() (diff.Dir, error) {
	return func() (diff.Dir, error) { return d.OpenDir(name) }
}
