package tar

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/aufs/aufstest"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/driver/drivertest/semantics"
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A bed applies layers as a backend does, and shows the result.
type bed interface {
	// apply applies a layer over the tree that the bed shows.
	apply(t *testing.T, layer []byte, opts UnpackOptions) (Applied, error)
	// push makes the tree that the bed shows the parents of the next layer.
	push(t *testing.T)
	tree(t *testing.T) fstest.Tree
}

func open(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// newRoot makes the root of an empty tree.
func newRoot(t *testing.T, dir string) string {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir, make([]unix.Timespec, 2), 0))
	return dir
}

func staging(t *testing.T, base string) *os.File {
	t.Helper()
	dir, err := os.MkdirTemp(base, "staging")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return open(t, dir)
}

// plainBed is a single tree.
type plainBed struct {
	base, root string
	forgetful  bool
}

func newPlainBed(t *testing.T, base string) *plainBed {
	return &plainBed{base: base, root: newRoot(t, filepath.Join(base, "root"))}
}

func (b *plainBed) apply(t *testing.T, layer []byte, opts UnpackOptions) (Applied, error) {
	root := open(t, b.root)
	opts.Parents, opts.forgetful = diff.DirView(root), b.forgetful
	d, applied, err := Unpack(t.Context(), staging(t, b.base), bytes.NewReader(layer), opts)
	if err != nil {
		return applied, err
	}
	return applied, d.Merge(t.Context(), Target{Root: root})
}

func (b *plainBed) push(*testing.T) {}

func (b *plainBed) tree(t *testing.T) fstest.Tree { return fstest.FromPath(t, b.root) }

// overlayBed is a stack of layers, of which the last is writable. Layers of
// overlayfs are read through mounts, so the test sees what the kernel makes of
// the encoding. Layers of aufs are read through a model of its kernel module.
type overlayBed struct {
	base     string
	enc      whiteout.Encoding
	layers   []string // lowest first; the last is the upper
	mounted  int
	detached bool
	// forgetful makes the unpacker forget files whenever it can.
	forgetful bool
}

func newOverlayBed(t *testing.T, base string) *overlayBed {
	b := &overlayBed{base: base, enc: whiteout.Overlay}
	b.push(t)
	return b
}

func newAUFSBed(t *testing.T, base string) *overlayBed {
	b := &overlayBed{base: base, enc: whiteout.AUFS}
	b.push(t)
	return b
}

func (b *overlayBed) push(t *testing.T) {
	dir := filepath.Join(b.base, "l"+string(rune('a'+len(b.layers))))
	var below attributes
	if len(b.layers) > 0 {
		a := fstest.FromPath(t, b.layers[len(b.layers)-1])["."]
		below.Attrs = attrs.Attrs{Mode: a.Perm(), UID: a.UID, GID: a.GID, Mtime: a.Mtime}
		for k, v := range a.Xattrs {
			below.Xattrs = append(below.Xattrs, attrs.Xattr{Name: k, Value: v})
		}
	}
	newRoot(t, dir)
	if len(b.layers) > 0 { // as a driver does at Create
		f := open(t, dir)
		g := &merger{enc: b.enc, maker: &maker{uid: ^uint32(0)}}
		require.NoError(t, g.setDirAttrs(int(f.Fd()), below, nil))
	}
	b.layers = append(b.layers, dir)
}

// show mounts the lowest n layers read-only.
func (b *overlayBed) show(t *testing.T, n int) string {
	t.Helper()
	lowers := slices.Clone(b.layers[:n])
	if n == 1 && b.enc != whiteout.AUFS { // overlay cannot mount a single layer
		lowers = []string{t.TempDir(), b.layers[0]}
	}
	slices.Reverse(lowers)
	b.mounted++
	target := filepath.Join(b.base, "m"+string(rune('a'+b.mounted)))
	if b.enc == whiteout.AUFS {
		require.NoError(t, aufstest.Show(target, lowers...))
		return target
	}
	require.NoError(t, os.Mkdir(target, 0o700))
	require.NoError(t, unix.Mount("overlay", target, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(lowers, ":")))
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
	return target
}

func (b *overlayBed) apply(t *testing.T, layer []byte, opts UnpackOptions) (Applied, error) {
	n := len(b.layers)
	target := Target{Root: open(t, b.layers[n-1]), Encoding: b.enc}
	if n > 1 {
		target.Below = diff.DirView(open(t, b.show(t, n-1)))
	}
	opts.Encoding, opts.forgetful = b.enc, b.forgetful
	switch {
	case b.detached:
		opts.Detached = true
	default:
		opts.Parents = diff.DirView(open(t, b.show(t, n)))
	}
	stage := staging(t, b.base)
	d, applied, err := Unpack(t.Context(), stage, bytes.NewReader(layer), opts)
	if err != nil {
		return applied, err
	}
	var saved bytes.Buffer
	require.NoError(t, d.Save(&saved))
	d, err = LoadDelta(&saved, stage)
	require.NoError(t, err)
	return applied, d.Merge(t.Context(), target)
}

func (b *overlayBed) tree(t *testing.T) fstest.Tree {
	return fstest.FromPath(t, b.show(t, len(b.layers)))
}

// beds are the ways in which every case is tested.
var beds = map[string]func(*testing.T) bed{
	"plain":   func(t *testing.T) bed { return newPlainBed(t, fstest.Quick(t)) },
	"overlay": func(t *testing.T) bed { return newOverlayBed(t, fstest.Quick(t)) },
	"plain, forgetful": func(t *testing.T) bed {
		b := newPlainBed(t, fstest.Quick(t))
		b.forgetful = true
		return b
	},
	"overlay, detached, forgetful": func(t *testing.T) bed {
		b := newOverlayBed(t, fstest.Quick(t))
		b.detached, b.forgetful = true, true
		return b
	},
	"overlay, detached": func(t *testing.T) bed {
		b := newOverlayBed(t, fstest.Quick(t))
		b.detached = true
		return b
	},
	"aufs": func(t *testing.T) bed { return newAUFSBed(t, fstest.Quick(t)) },
	"aufs, detached": func(t *testing.T) bed {
		b := newAUFSBed(t, fstest.Quick(t))
		b.detached = true
		return b
	},
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a tmpfs and makes files of other owners")
	}
}

func TestEveryStatementOnLayersHoldsForTheApplier(t *testing.T) {
	requireRoot(t)
	for _, c := range semantics.Cases() {
		if len(c.Edits) > 0 {
			continue // edits need a backend's mounts
		}
		for name, newBed := range beds {
			name = strings.ReplaceAll(c.Name+"/"+name, ",", "") // a comma separates options of mount(2)
			t.Run(name, func(t *testing.T) { inSequence(t, c, newBed(t), true) })
			if len(c.Layers) > 1 && (strings.HasSuffix(name, "/overlay") || strings.HasSuffix(name, "/aufs")) {
				// The upper directory is not empty when the second layer comes.
				t.Run(name+" one upper", func(t *testing.T) { inSequence(t, c, newBed(t), false) })
				t.Run(name+" last two in one upper", func(t *testing.T) { lastTwo(t, c, newBed(t)) })
			}
		}
	}
}

func inSequence(t *testing.T, c semantics.Case, b bed, push bool) {
	applyAll(t, c, b, func(i int) bool { return push && i > 0 })
}

func lastTwo(t *testing.T, c semantics.Case, b bed) {
	applyAll(t, c, b, func(i int) bool { return i > 0 && i < len(c.Layers)-1 })
}

func applyAll(t *testing.T, c semantics.Case, b bed, push func(i int) bool) {
	needEscapes(t, c, b)
	tree := model.New()
	var warned []string
	opts := UnpackOptions{Warn: func(p, _ string) { warned = append(warned, p) }}
	for i, entries := range c.Layers {
		if push(i) {
			b.push(t)
		}
		_, err := b.apply(t, fstest.Layer(t, entries...), opts)
		if o, ok := b.(*overlayBed); ok && err != nil && o.detached {
			if bytes.Contains([]byte(err.Error()), []byte(ErrNeedsParents.Error())) {
				o.detached = false
				_, err = b.apply(t, fstest.Layer(t, entries...), opts)
				o.detached = true
			}
		}
		if merr := tree.Apply(entries); merr != nil {
			require.ErrorIs(t, err, diff.ErrInvalidLayer)
			for _, name := range c.ErrorNames {
				require.ErrorContains(t, err, name)
			}
		} else {
			require.NoError(t, err, "layer %d", i)
		}
		fstest.RequireEqual(t, tree.Snapshot(), b.tree(t), "after layer "+string(rune('0'+i)))
	}
	for _, p := range c.Warns {
		require.Contains(t, warned, p)
	}
}
