package tar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A Delta is a layer that has been unpacked into a staging directory and not
// been merged yet: the tree there, and what a tree cannot say.
type Delta struct {
	staging  *os.File
	encoding whiteout.Encoding
	detached bool
	root     bool  // the layer has an entry for the root
	escaped  bool  // an attribute was escaped
	marks    *mark // markers, and directories that are not what they seem
}

// saved is the form on disk.
type saved struct {
	Version  int         `json:"version"`
	Encoding string      `json:"encoding"`
	Detached bool        `json:"detached,omitempty"`
	Root     bool        `json:"root,omitempty"`
	Escaped  bool        `json:"escaped,omitempty"`
	Marks    []savedMark `json:"marks,omitempty"`
}

// savedMark is one mark. They stand in the order of a walk, with names rather
// than paths: hundreds of directories in each other have paths of many times
// their names' length.
type savedMark struct {
	Depth    int    `json:"depth"` // the root has 0
	Name     []byte `json:"name"`  // bytes: it need not be UTF-8
	Whiteout bool   `json:"whiteout,omitempty"`
	Opaque   bool   `json:"opaque,omitempty"`
	Implied  bool   `json:"implied,omitempty"`
	Cut      bool   `json:"cut,omitempty"`
	Assumed  bool   `json:"assumed,omitempty"`
}

const savedVersion = 2

// Escaped reports whether the layer has an extended attribute of the encoding's
// own namespace, which is kept escaped on disk.
func (d *Delta) Escaped() bool { return d.escaped }

// Save writes what the staging directory does not hold, for [LoadDelta].
func (d *Delta) Save(w io.Writer) error {
	s := saved{Version: savedVersion, Encoding: d.encoding.String(), Detached: d.detached, Root: d.root, Escaped: d.escaped}
	s.add(0, "", d.marks)
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("save delta: %w", err)
	}
	return nil
}

func (s *saved) add(depth int, name string, m *mark) {
	s.Marks = append(s.Marks, savedMark{depth, []byte(name), m.whiteout, m.opaque, m.implied, m.cut, m.assumed})
	for _, name := range m.names() {
		s.add(depth+1, name, m.children[name])
	}
}

// maxSaved bounds what is read of a saved delta, in bytes: ten million marks, which is
// what an applied layer can have, take some 700 MB.
const maxSaved = 1 << 30

// LoadDelta reads what [Delta.Save] wrote; staging is the directory that the
// layer was unpacked into. The names in it are not believed: each must be one that a
// directory can have, since it is removed where the delta is merged.
func LoadDelta(r io.Reader, staging *os.File) (*Delta, error) {
	var s saved
	if err := json.NewDecoder(&bounded{r, maxSaved}).Decode(&s); err != nil {
		return nil, fmt.Errorf("load delta: %w", err)
	}
	if s.Version != savedVersion {
		return nil, fmt.Errorf("load delta: version %d is not known", s.Version)
	}
	d := &Delta{staging: staging, detached: s.Detached, root: s.Root, escaped: s.Escaped, marks: &mark{}}
	known := false
	for _, e := range []whiteout.Encoding{whiteout.Plain, whiteout.Overlay, whiteout.OverlayUser, whiteout.AUFS} {
		if e.String() == s.Encoding {
			d.encoding, known = e, true
		}
	}
	if !known {
		return nil, fmt.Errorf("load delta: the encoding %q is not known", s.Encoding)
	}
	way := []*mark{d.marks} // from the root to the last mark
	for i, sm := range s.Marks {
		m := d.marks
		if i > 0 {
			if sm.Depth < 1 || sm.Depth > len(way) {
				return nil, fmt.Errorf("load delta: mark %d is at no depth that follows the one before: %d", i, sm.Depth)
			}
			if !isName(sm.Name) {
				return nil, fmt.Errorf("load delta: mark %d has the name %q, which no file can have", i, sm.Name)
			}
			way = way[:sm.Depth]
			m = way[sm.Depth-1].make(string(sm.Name))
			way = append(way, m)
		}
		m.whiteout, m.opaque, m.implied, m.cut, m.assumed = sm.Whiteout, sm.Opaque, sm.Implied, sm.Cut, sm.Assumed
		if m.whiteout || m.opaque {
			markAbove(way)
		}
	}
	return d, nil
}

// markAbove says of the marks on the way to a marker that there is one below. Those
// above one that says so already say so, too.
func markAbove(way []*mark) {
	for _, m := range slices.Backward(way) {
		if m.below {
			return
		}
		m.below = true
	}
}

// isName reports whether a directory can have a file of that name.
func isName(name []byte) bool {
	return len(name) > 0 && len(name) <= maxName && string(name) != "." && string(name) != ".." && !bytes.ContainsAny(name, "/\x00")
}

// bounded is a reader that fails, rather than to end, when it has given left bytes.
type bounded struct {
	from io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("it is too long")
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
