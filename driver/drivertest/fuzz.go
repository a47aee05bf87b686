package drivertest

import (
	stdtar "archive/tar"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// RunFuzz takes bytes for up to [maxFuzzLayers] layers on top of each other,
// most of them sound, and applies these to every subject, detached too where
// that can be done. Like in [RunProperties], each has to show what the model
// shows or refuse what it refuses; all changes and diffs are the same, and a
// diff that was applied gives itself again. Nothing is mounted: the process of
// a fuzz target can be killed at any time.
func RunFuzz(f *testing.F, subjects []Subject) {
	f.Helper()
	if !fstest.CanOwn(f, f.TempDir()) {
		f.Skip("layers need files of other owners and devices, which are not permitted here")
	}
	var open []*subject
	var props []driver.Properties
	for _, s := range subjects {
		if s.Dir == "" {
			s.Dir = f.TempDir()
			if fstest.TmpfsKeepsUserXattrs(f) {
				s.Dir = fstest.MemoryDir(f)
			}
		}
		sub := openSubject(f, s)
		open = append(open, sub)
		props = append(props, sub.props)
	}
	refused := commonRandom(props).refused
	f.Fuzz(func(t *testing.T, input []byte) {
		layers := (&layerDecoder{input: input, refused: refused}).layers()
		// Nothing is drawn: rapid only lends what ends a run.
		rapid.MakeFuzz(func(rt *rapid.T) {
			r := &run{random: random{T: rt}, ctx: t.Context(), subjects: open, unmounted: true}
			defer r.cleanup()
			r.fixedStack(layers)
		})(t, nil)
	})
}

// fixedStack is stack for layers that are there.
func (r *run) fixedStack(layers [][]fstest.Entry) {
	tree := model.New()
	for i, entries := range layers {
		if err := tree.Clone().Apply(entries); errors.Is(err, model.ErrUnspecified) {
			continue
		}
		parents, id := tree.Clone(), layerID(i)
		r.log = append(r.log, fmt.Sprintf("layer %d:", i))
		r.each(func(s *subject) {
			r.check(s.d.Create(r.ctx, id, r.chain, driver.CreateOptions{}), "%s: create %s", s.name, id)
		})
		r.apply(id, tree, entries)
		r.compare(id, parents, tree)
		r.seal(id, tree)
		r.chain = append([]driver.ID{id}, r.chain...)
		tree.Seal()
	}
}

const (
	maxFuzzLayers  = 3
	maxFuzzEntries = 16 // of a layer
)

// Names and targets of which paths of fuzzed layers are made: more than those
// of random layers, with what is no name, too.
var (
	fuzzNames = append([]string{
		"..", ".", "", ".wh.", ".wh..", ".wh..wh..opq", ".wh..wh.plnk", ".wh..wh.aufs", ".wh.a", ".wh.b", "\xff\n", "ü", " ", "\\",
		strings.Repeat("n", 255),
	}, randomNames...)
	fuzzTargets = append([]string{"..", "/", ".", "a/..", "/../d", "\xff", strings.Repeat("t/", 300)}, randomTargets...)
	fuzzTimes   = append([]time.Time{time.Unix(1<<31, 0), time.Unix(-1<<31, 999_999_999)}, randomTimes...)
	fuzzIDs     = append([]uint32{1 << 16, 1<<31 - 1, 1 << 31}, randomIDs...)
	fuzzXattrs  = append([]string{"trusted.overlay.opaque", "trusted.overlay.metacopy", "trusted.overlay.overlay.opaque", "com.apple.x"}, randomXattrs...)
)

// A layerDecoder makes layers of bytes, mostly one byte for each choice, so
// that a small change of the input is a small one of the layers. All that
// follows the end of the input is zero.
type layerDecoder struct {
	input   []byte
	refused []string // prefixes of attributes that are left out
}

func (d *layerDecoder) next() byte {
	if len(d.input) == 0 {
		return 0
	}
	b := d.input[0]
	d.input = d.input[1:]
	return b
}

// choose takes the next byte for one of the values.
func choose[T any](d *layerDecoder, values []T) T { return values[int(d.next())%len(values)] }

func (d *layerDecoder) layers() [][]fstest.Entry {
	layers := [][]fstest.Entry{nil}
	for len(d.input) > 0 {
		last := len(layers) - 1
		kind := d.next()
		switch {
		case kind%32 == 31 && len(layers) < maxFuzzLayers:
			layers = append(layers, nil)
		case len(layers[last]) < maxFuzzEntries:
			layers[last] = append(layers[last], d.entry(kind))
		default:
			return layers
		}
	}
	return layers
}

// path is one of up to three names; of each byte a small value is an ordinary
// name.
func (d *layerDecoder) path() string {
	form := d.next()
	var names []string
	for range form%3 + 1 {
		names = append(names, d.name())
	}
	p := strings.Join(names, "/")
	switch form / 3 % 16 {
	case 13:
		p = "/" + p
	case 14:
		p = "./" + p
	}
	return p
}

func (d *layerDecoder) name() string {
	b := d.next()
	if b < 192 {
		return randomNames[int(b)%len(randomNames)]
	}
	return fuzzNames[int(b-192)%len(fuzzNames)]
}

func (d *layerDecoder) entry(kind byte) fstest.Entry {
	p := strings.TrimRight(d.path(), "/") // which the writer takes of directories alone
	var e fstest.Entry
	switch kind % 16 {
	case 0, 1, 2:
		e = fstest.Dir(p)
	case 3, 4:
		e = fstest.File(p, choose(d, randomBodies))
	case 5, 6:
		e = fstest.Symlink(p, choose(d, fuzzTargets))
	case 7, 8, 9:
		return fstest.Link(p, d.path())
	case 10:
		e = fstest.Fifo(p)
	case 11:
		e = fstest.Char(p, int64(d.next()%2), int64(d.next()%4))
	case 12, 13:
		e = fstest.Whiteout(path.Clean("/" + p)[1:])
		e.Type = choose(d, []byte{stdtar.TypeReg, stdtar.TypeReg, stdtar.TypeDir, stdtar.TypeSymlink, stdtar.TypeChar})
		return e
	case 14:
		return fstest.Opaque(p)
	default:
		e = fstest.Dir(".")
	}
	if kind < 128 { // most have the attributes that they come with
		return e
	}
	e = e.WithMode(int64(choose(d, randomPerms))).WithOwner(int(choose(d, fuzzIDs)), int(choose(d, fuzzIDs)))
	e.Mtime = choose(d, fuzzTimes)
	if name := choose(d, fuzzXattrs); d.takes(name, e) {
		e = e.WithXattr(name, d.value(name))
	}
	return e
}

// takes reports whether every backend takes an attribute on a file of that
// type.
func (d *layerDecoder) takes(name string, e fstest.Entry) bool {
	for _, prefix := range d.refused {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return name != "security.capability" || e.Type == stdtar.TypeReg
}

func (d *layerDecoder) value(name string) string {
	if name == "security.capability" {
		return capability
	}
	return choose(d, []string{"", "y", "/a", "\x00", "x"})
}
