package overlay2

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// A stack is the tree that an overlay of its layers shows, computed in user
// space. It is a [diff.View]. It follows the rules of ovl_lookup in the
// kernel's fs/overlayfs/namei.c and of ovl_dir_read_merged in readdir.c. Like
// the kernel, it returns an error for inconsistent files, such as a broken
// redirect or content that no layer has.
type stack struct {
	layers []*rootfd.Dir // roots, uppermost first
	// owned are the descriptors in layers that Close has to close.
	owned []*rootfd.Dir
	marks marks
	// many is the result of manyLayers.
	many int
	// shift, if not nil, translates the IDs of the first layer's files.
	shift *shift
	// hints: the first layer holds the changes against the other layers.
	hints bool
}

// maxHeld is a number of merged directories. A directory with at least as many
// is opened only while it is read. Otherwise a deep walk over hundreds of
// layers would hold thousands of descriptors.
const maxHeld = 64

// manyLayers returns maxHeld, or less if this process may have few descriptors.
// The limit has to be enough for two walks dozens of directories deep.
func manyLayers() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil || r.Cur/128 > maxHeld {
		return maxHeld
	}
	return max(2, int(r.Cur/128))
}

// openStack opens the layers at the given paths, uppermost first.
func openStack(paths []string, m marks, opts rootfd.Options) (*stack, error) {
	v := &stack{marks: m, many: manyLayers(), hints: true}
	for _, p := range paths {
		d, err := rootfd.Open(p, opts)
		if err != nil {
			return nil, errors.Join(err, v.Close())
		}
		v.layers = append(v.layers, d)
		v.owned = append(v.owned, d)
	}
	return v, nil
}

// below returns the stack without its uppermost layer, or nil if there is no
// other. The result is valid as long as v is open and need not be closed.
func (v *stack) below() diff.View {
	if len(v.layers) < 2 {
		return nil
	}
	return &stack{layers: v.layers[1:], marks: v.marks, many: v.many}
}

// Close closes the layers. Directories that are still open must not be used
// afterwards.
func (v *stack) Close() error {
	var errs []error
	for _, d := range v.owned {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// Root opens the root directory. The roots of all layers are merged, even if
// one is marked opaque.
func (v *stack) Root() (diff.Dir, error) {
	places, err := v.roots()
	if err != nil {
		return nil, err
	}
	known := unknown
	if v.hints && len(places) > 1 {
		known = merged
	}
	return v.open(places, known)
}

func (v *stack) roots() ([]place, error) {
	places := make([]place, len(v.layers))
	for i, d := range v.layers {
		opaque, _, err := d.Xattr(v.marks.opaque())
		if err != nil {
			return nil, err
		}
		places[i] = place{layer: i, x: opaque == opaqueX}
	}
	return places, nil
}

// A place is a directory of one layer.
type place struct {
	layer int
	at    *rootfd.Way // path in the layer
	// x: regular files in the directory can be whiteouts (overlay.opaque=x).
	x bool
	d *rootfd.Dir // nil: opened when needed
	// parent, if not nil, is the open parent directory. Opening through it is
	// faster in a deep tree than from the root of the layer.
	parent *rootfd.Dir
}

// openIn opens the directory in its layer.
func (p *place) openIn(layer *rootfd.Dir) (d *rootfd.Dir, err error) {
	if p.parent != nil {
		d, err = p.parent.OpenDir(p.at.Name)
		p.parent = nil
		return d, err
	}
	return layer.OpenDirAt(p.at.String())
}

// child returns the path of a name in the directory, for messages.
func (p place) child(name string) string { return p.at.Child(name) }

// with calls fn with the opened directory.
func (v *stack) with(p place, fn func(d *rootfd.Dir) error) error {
	if p.d != nil {
		return fn(p.d)
	}
	d, err := p.openIn(v.layers[p.layer])
	if err != nil {
		return err
	}
	defer d.Close()
	return fn(d)
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
