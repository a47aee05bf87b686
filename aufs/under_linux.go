package aufs

import "github.com/layerkeep/layerkeep/diff"

// under is the directory of the parents' merged tree that a directory of the
// branch merges with. It is opened only when it is needed, because most
// directories of most branches hide nothing.
type under struct {
	open   func() (diff.Dir, error) // nil: merges with nothing
	opened diff.Dir
}

// dir returns the opened directory, or nil if there is none. close closes it.
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
		// A close error does not matter after reading.
		_ = u.opened.Close()
	}
}

// opener returns a function that opens a child of d. It must be called before d
// is closed.
func opener(d diff.Dir, name string) func() (diff.Dir, error) {
	return func() (diff.Dir, error) { return d.OpenDir(name) }
}
