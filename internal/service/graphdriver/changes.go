package graphdriver

import (
	"context"
	"encoding/json"
	"io"
	"path"

	"github.com/layerkeep/layerkeep/diff"
)

// writeChanges writes the changes of the layer against parent as Docker's own
// drivers list them.
func (d *Driver) writeChanges(ctx context.Context, l layer, parent string, w io.Writer) error {
	list := changeList{w: w}
	for c, err := range d.changes(ctx, l, parent) {
		if err != nil {
			return err
		}
		if err := list.add(c); err != nil {
			return err
		}
	}
	return list.end()
}

// changeList writes changes, in the order of [diff.Compare], as the value of a
// response, each as it comes.
//
// A directory in which a name was added or removed counts as changed, even
// where its times were put back; the root is never listed.
type changeList struct {
	w     io.Writer
	count int
	dirs  []string // directories on the way to the last change that were listed
}

func (l *changeList) add(c diff.Change) error {
	if c.Path == "." {
		return nil
	}
	dir := path.Dir(c.Path)
	for len(l.dirs) > 0 && !contains(l.dirs[len(l.dirs)-1], dir) {
		l.dirs = l.dirs[:len(l.dirs)-1]
	}
	listed := dir == "." || len(l.dirs) > 0 && l.dirs[len(l.dirs)-1] == dir
	if c.Kind != diff.Modify && !listed {
		if err := l.write(change{Path: "/" + dir, Kind: changeModify}); err != nil {
			return err
		}
		l.dirs = append(l.dirs, dir)
	}
	if c.Kind != diff.Delete && c.Hardlink == "" && c.Node.IsDir() {
		l.dirs = append(l.dirs, c.Path)
	}
	return l.write(change{Path: "/" + c.Path, Kind: kindOf(c.Kind)})
}

// contains tells whether the directory is path or holds it.
func contains(dir, path string) bool {
	return path == dir || len(path) > len(dir) && path[:len(dir)] == dir && path[len(dir)] == '/'
}

func kindOf(k diff.Kind) changeKind {
	switch k {
	case diff.Add:
		return changeAdd
	case diff.Delete:
		return changeDelete
	default:
		return changeModify
	}
}

func (l *changeList) write(c change) error {
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	before := `,`
	if l.count == 0 {
		before = `{"Changes":[`
	}
	l.count++
	_, err = l.w.Write(append([]byte(before), raw...))
	return err
}

func (l *changeList) end() error {
	text := "]}\n"
	if l.count == 0 {
		text = "{}\n"
	}
	_, err := io.WriteString(l.w, text)
	return err
}
