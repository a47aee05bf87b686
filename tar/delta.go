package tar

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A Delta is a layer that has been unpacked into a staging directory and not
// been merged yet: the tree there, and what a tree cannot say.
type Delta struct {
	staging  *os.File
	encoding whiteout.Encoding
	detached bool
	root     bool  // the layer has an entry for the root
	marks    *mark // markers, and directories that are not what they seem
	assumed  []string
}

// saved is the form on disk. Paths are bytes: they need not be UTF-8.
type saved struct {
	Version  int         `json:"version"`
	Encoding string      `json:"encoding"`
	Detached bool        `json:"detached,omitempty"`
	Root     bool        `json:"root,omitempty"`
	Marks    []savedMark `json:"marks,omitempty"`
	Assumed  [][]byte    `json:"assumed,omitempty"`
}

type savedMark struct {
	Path     []byte `json:"path"`
	Whiteout bool   `json:"whiteout,omitempty"`
	Opaque   bool   `json:"opaque,omitempty"`
	Implied  bool   `json:"implied,omitempty"`
	Cut      bool   `json:"cut,omitempty"`
}

const savedVersion = 1

// Save writes what the staging directory does not hold, for [LoadDelta].
func (d *Delta) Save(w io.Writer) error {
	s := saved{Version: savedVersion, Encoding: d.encoding.String(), Detached: d.detached, Root: d.root}
	d.marks.each(".", func(p string, m *mark) {
		s.Marks = append(s.Marks, savedMark{[]byte(p), m.whiteout, m.opaque, m.implied, m.cut})
	})
	for _, p := range d.assumed {
		s.Assumed = append(s.Assumed, []byte(p))
	}
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("save delta: %w", err)
	}
	return nil
}

// LoadDelta reads what [Delta.Save] wrote; staging is the directory that the
// layer was unpacked into.
func LoadDelta(r io.Reader, staging *os.File) (*Delta, error) {
	var s saved
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return nil, fmt.Errorf("load delta: %w", err)
	}
	if s.Version != savedVersion {
		return nil, fmt.Errorf("load delta: version %d is not known", s.Version)
	}
	d := &Delta{staging: staging, detached: s.Detached, root: s.Root, marks: &mark{}}
	for _, e := range []whiteout.Encoding{whiteout.Plain, whiteout.Overlay, whiteout.OverlayUser, whiteout.AUFS} {
		if e.String() == s.Encoding {
			d.encoding = e
		}
	}
	for _, sm := range s.Marks {
		m := d.marks.at(string(sm.Path))
		m.whiteout, m.opaque, m.implied, m.cut = sm.Whiteout, sm.Opaque, sm.Implied, sm.Cut
	}
	for _, p := range s.Assumed {
		d.assumed = append(d.assumed, string(p))
	}
	return d, nil
}
