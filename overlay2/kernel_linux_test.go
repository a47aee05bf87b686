package overlay2

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/mount"
)

// kernelStack is a stack of upper directories that the kernel wrote.
type kernelStack struct {
	t      *testing.T
	dir    string
	layers []string // uppermost first
	opts   []string
}

func newKernelStack(t *testing.T, options ...string) *kernelStack {
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	k := &kernelStack{t: t, dir: t.TempDir(), opts: append([]string{"index=off"}, options...)}
	k.add()
	return k
}

// add puts an empty layer on top.
func (k *kernelStack) add() {
	l := filepath.Join(k.dir, fmt.Sprint(len(k.layers)))
	require.NoError(k.t, os.MkdirAll(l, 0o755))
	k.layers = append([]string{l}, k.layers...)
}

// edit puts a layer on top and calls fn with the stack mounted.
func (k *kernelStack) edit(fn func(root string)) {
	k.add()
	work := k.layers[0] + "-work"
	require.NoError(k.t, os.MkdirAll(work, 0o755))
	k.mounted(mount.Mount{
		Type: "overlay", Source: "overlay", Options: k.opts,
		Overlay: &mount.Overlay{Lower: k.layers[1:], Upper: k.layers[0], Work: work},
	}, fn)
}

func (k *kernelStack) mounted(m mount.Mount, fn func(root string)) {
	require.NoError(k.t, mount.WithTemp(k.t.Context(), []mount.Mount{m}, func(root string) error {
		fn(root)
		return nil
	}))
}

// shown returns the tree that the kernel shows for the stack, with all layers
// as lower directories.
func (k *kernelStack) shown() (tree fstest.Tree) {
	empty := filepath.Join(k.dir, "empty")
	require.NoError(k.t, os.MkdirAll(empty, 0o755))
	lowers := append(append([]string{}, k.layers...), empty)
	k.mounted(mount.Mount{Type: "overlay", Source: "overlay", ReadOnly: true, Options: k.opts, Overlay: &mount.Overlay{Lower: lowers}},
		func(root string) { tree = fstest.FromPath(k.t, root) })
	return tree
}

func (k *kernelStack) view() *stack {
	v, err := openStack(k.layers, marks{whiteout.Overlay}, rootfd.Options{})
	require.NoError(k.t, err)
	k.t.Cleanup(func() { require.NoError(k.t, v.Close()) })
	return v
}

// check compares the view with the kernel's, and the changes found with hints
// with the changes found without.
func (k *kernelStack) check(what string) {
	v := k.view()
	fstest.RequireEqual(k.t, k.shown(), fstest.FromView(k.t, v), what)
	if len(k.layers) < 2 {
		return
	}
	hinted := k.changes(v)
	v.hints = false
	require.Equal(k.t, k.changes(v), hinted, what)
}

func (k *kernelStack) changes(v *stack) []string {
	var all []string
	for c, err := range diff.Compare(k.t.Context(), v.below(), v, diff.Options{}) {
		require.NoError(k.t, err)
		all = append(all, fmt.Sprint(c.Kind, " ", c.Path, " -> ", c.Hardlink))
	}
	return all
}

// randomEdits changes a mounted tree as a container might.
type randomEdits struct {
	rnd   *rand.Rand
	root  string
	paths []string // relative paths of all files
	n     int
	log   []string
}

func (e *randomEdits) scan() {
	e.paths = nil
	_ = filepath.WalkDir(e.root, func(p string, d os.DirEntry, err error) error {
		if err == nil && p != e.root {
			e.paths = append(e.paths, strings.TrimPrefix(p, e.root+"/"))
		}
		return nil
	})
}

func (e *randomEdits) pick() string {
	if len(e.paths) == 0 {
		return "nothing"
	}
	return filepath.Join(e.root, e.paths[e.rnd.IntN(len(e.paths))])
}

func (e *randomEdits) fresh() string {
	dir := e.root
	if p := e.pick(); e.rnd.IntN(4) > 0 {
		if st, err := os.Lstat(p); err == nil && st.IsDir() {
			dir = p
		}
	}
	return filepath.Join(dir, string(rune('a'+e.rnd.IntN(6))))
}

// one does a random edit. Most edits may fail.
func (e *randomEdits) one() {
	e.n++
	p, q := e.pick(), e.fresh()
	op := e.rnd.IntN(12)
	var err error
	switch op {
	case 0, 1:
		err = os.Mkdir(q, 0o755)
	case 2:
		err = e.write(q)
	case 3:
		err = os.RemoveAll(p)
	case 4, 5, 6:
		err = os.Rename(p, q)
	case 7:
		err = os.Link(p, q)
	case 8:
		err = unix.Fchmodat(unix.AT_FDCWD, p, uint32(0o600+e.rnd.IntN(64)), 0)
	case 9:
		err = os.Symlink(fmt.Sprintf("target%d", e.n), q)
	case 10:
		err = unix.Lsetxattr(p, "trusted.test", fmt.Appendf(nil, "%d", e.n), 0)
	case 11:
		err = unix.Mknod(q, unix.S_IFIFO|0o600, 0)
	}
	e.log = append(e.log, fmt.Sprintf("%d %s %s: %v", op, strings.TrimPrefix(p, e.root), strings.TrimPrefix(q, e.root), err))
	e.scan()
}

func (e *randomEdits) write(p string) error {
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "body %d", e.n)
	return err
}

func TestTheViewIsWhatTheKernelShowsAfterRandomEdits(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for name, options := range map[string][]string{
		"redirect_dir and metacopy": {"redirect_dir=on", "metacopy=on"},
		"neither":                   {"redirect_dir=off", "metacopy=off"},
	} {
		t.Run(name, func(t *testing.T) {
			for round := range uint64(12) {
				rnd := rand.New(rand.NewPCG(seed, round))
				k := newKernelStack(t, options...)
				e := &randomEdits{rnd: rnd}
				for layer := range 5 {
					k.edit(func(root string) {
						e.root = root
						e.scan()
						e.log = append(e.log, fmt.Sprintf("-- layer %d", layer+1))
						for range 25 {
							e.one()
						}
					})
					k.check(fmt.Sprintf("seed %d, round %d:\n%s", seed, round, strings.Join(e.log, "\n")))
				}
			}
		})
	}
}
