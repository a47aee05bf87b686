package tar

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A Delta is a layer that was unpacked into a staging directory and is not
// merged yet. It consists of the tree there and of what a tree cannot express.
type Delta struct {
	staging  *os.File
	encoding whiteout.Encoding
	detached bool
	root     bool  // the layer has an entry for the root
	escaped  bool  // an attribute was escaped
	marks    *mark // whiteouts, opaque marks, and facts about directories
}

// saved is the form of a delta on disk.
type saved struct {
	Version  int         `json:"version"`
	Encoding string      `json:"encoding"`
	Detached bool        `json:"detached,omitempty"`
	Root     bool        `json:"root,omitempty"`
	Escaped  bool        `json:"escaped,omitempty"`
	Marks    []savedMark `json:"marks,omitempty"`
}

// savedMark is one mark. The marks are in the order of a walk. Each has a name
// and a depth instead of a path: with hundreds of nested directories, the paths
// would be many times longer than the names.
type savedMark struct {
	Depth    int    `json:"depth"` // 0 for the root
	Name     []byte `json:"name"`  // bytes, because it need not be UTF-8
	Whiteout bool   `json:"whiteout,omitempty"`
	Opaque   bool   `json:"opaque,omitempty"`
	Implied  bool   `json:"implied,omitempty"`
	Cut      bool   `json:"cut,omitempty"`
	Assumed  bool   `json:"assumed,omitempty"`
}

const savedVersion = 2

// Escaped reports whether the layer has an extended attribute of the encoding's
// own namespace. On disk such an attribute is escaped.
func (d *Delta) Escaped() bool { return d.escaped }

// Save writes the part of the delta that is not in the staging directory, for
// [LoadDelta].
func (d *Delta) Save(w io.Writer) error {
	head := saved{Version: savedVersion, Encoding: d.encoding.String(), Detached: d.detached, Root: d.root, Escaped: d.escaped}
	s := saver{w: bufio.NewWriter(w)}
	s.value(head, 1) // without the closing brace
	_, _ = s.w.WriteString(`,"marks":[`)
	s.add(0, "", d.marks)
	_, _ = s.w.WriteString("]}\n")
	if err := errors.Join(s.err, s.w.Flush()); err != nil { // Flush returns the error of any earlier write
		return fmt.Errorf("save delta: %w", err)
	}
	return nil
}

// A saver writes marks one by one, because there can be millions.
type saver struct {
	w   *bufio.Writer
	err error
}

// value writes a value as JSON, without its last less bytes.
func (s *saver) value(v any, less int) {
	text, err := json.Marshal(v)
	if err != nil {
		s.err = err
		return
	}
	_, _ = s.w.Write(text[:len(text)-less])
}

func (s *saver) add(depth int, name string, m *mark) {
	if depth > 0 {
		_ = s.w.WriteByte(',')
	}
	s.value(savedMark{depth, []byte(name), m.whiteout, m.opaque, m.implied, m.cut, m.assumed}, 0)
	for _, name := range m.names() {
		s.add(depth+1, name, m.child(name))
	}
}

// Limits on the size of a saved delta, in bytes. savedHead is for the part
// before the marks. savedEach is added for each mark; the longest takes about
// 500 bytes.
const (
	savedHead = 64 << 10
	savedEach = 4 << 10
	// maxSaved is for the whole: ten million marks take about 700 MB.
	maxSaved = 1 << 30
)

// LoadDelta reads what [Delta.Save] wrote. staging is the directory that the
// layer was unpacked into. LoadDelta trusts no name in r: each must be a
// possible name of a file, because Merge removes files by these names.
func LoadDelta(r io.Reader, staging *os.File) (*Delta, error) {
	from := &bounded{&bounded{r, maxSaved}, savedHead}
	l := loader{from: from, dec: json.NewDecoder(from), delta: &Delta{staging: staging, marks: &mark{}}}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("load delta: %w", unexpected(err))
	}
	return l.delta, nil
}

type loader struct {
	from  *bounded
	dec   *json.Decoder
	delta *Delta
	head  saved
	way   []*mark // the marks from the root to the last one
	count int
}

func (l *loader) load() error {
	if err := l.expect(json.Delim('{')); err != nil {
		return err
	}
	for l.dec.More() {
		key, err := l.dec.Token()
		if err != nil {
			return err
		}
		if key == "marks" {
			err = l.marks()
		} else {
			err = l.field(key)
		}
		if err != nil {
			return err
		}
	}
	if err := l.expect(json.Delim('}')); err != nil {
		return err
	}
	return l.checkHead()
}

func (l *loader) expect(want json.Delim) error {
	got, err := l.dec.Token()
	if err == nil && got != want {
		err = fmt.Errorf("it has %v where %v belongs", got, want)
	}
	return err
}

// field reads one field that is not the marks.
func (l *loader) field(key json.Token) error {
	var skipped json.RawMessage
	var into any = &skipped
	switch key {
	case "version":
		into = &l.head.Version
	case "encoding":
		into = &l.head.Encoding
	case "detached":
		into = &l.delta.detached
	case "root":
		into = &l.delta.root
	case "escaped":
		into = &l.delta.escaped
	}
	return l.dec.Decode(into)
}

func (l *loader) checkHead() error {
	if l.head.Version != savedVersion {
		return fmt.Errorf("version %d is not known", l.head.Version)
	}
	for _, e := range []whiteout.Encoding{whiteout.Plain, whiteout.Overlay, whiteout.OverlayUser, whiteout.AUFS} {
		if e.String() == l.head.Encoding {
			l.delta.encoding = e
			return nil
		}
	}
	return fmt.Errorf("the encoding %q is not known", l.head.Encoding)
}

func (l *loader) marks() error {
	if err := l.checkHead(); err != nil {
		return err
	}
	if err := l.expect(json.Delim('[')); err != nil {
		return err
	}
	for l.way = []*mark{l.delta.marks}; l.dec.More(); l.count++ {
		l.from.left += savedEach
		var sm savedMark
		if err := l.dec.Decode(&sm); err != nil {
			return err
		}
		if err := l.mark(&sm); err != nil {
			return err
		}
	}
	return l.expect(json.Delim(']'))
}

func (l *loader) mark(sm *savedMark) error {
	m := l.delta.marks
	if l.count > 0 {
		if sm.Depth < 1 || sm.Depth > len(l.way) {
			return fmt.Errorf("mark %d is at no depth that follows the one before: %d", l.count, sm.Depth)
		}
		if !isName(sm.Name) {
			return fmt.Errorf("mark %d has the name %q, which no file can have", l.count, sm.Name)
		}
		l.way = l.way[:sm.Depth]
		m = l.way[sm.Depth-1].make(string(sm.Name))
		l.way = append(l.way, m)
	}
	m.whiteout, m.opaque, m.implied, m.cut, m.assumed = sm.Whiteout, sm.Opaque, sm.Implied, sm.Cut, sm.Assumed
	if m.whiteout || m.opaque {
		markAbove(l.way)
	}
	return nil
}

// markAbove sets below on all marks from the root to a whiteout or opaque mark.
// It stops at the first mark that has it set, because those above then have it
// too.
func markAbove(way []*mark) {
	for _, m := range slices.Backward(way) {
		if m.below {
			return
		}
		m.below = true
	}
}

// isName reports whether a file can have that name.
func isName(name []byte) bool {
	return len(name) > 0 && len(name) <= maxName && string(name) != "." && string(name) != ".." && !bytes.ContainsAny(name, "/\x00")
}

// bounded is a reader that returns an error, and not io.EOF, after left bytes.
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
