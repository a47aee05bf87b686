package aufs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/aufs/aufstest"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

// twins is one tree that exists twice: as branches that aufs would have
// written, and as a plain directory.
type twins struct {
	*branches
	rnd    *rand.Rand
	plain  string
	owns   bool // this process can change owners and make devices
	mounts mountWay
	editor editor
	// unmount ends the editing of the uppermost branch.
	unmount func()
	// shared are the files of the parents with several names. In a branch, writing
	// to one name separates it from the others.
	shared map[string]bool
	old    fstest.Tree // of the parents
	log    []string
}

func newTwins(t *testing.T, rnd *rand.Rand, mounts mountWay) *twins {
	b := newBranches(t)
	tw := &twins{branches: b, rnd: rnd, mounts: mounts, plain: filepath.Join(b.dir, "plain"), owns: fstest.CanOwn(t, b.dir)}
	require.NoError(t, os.Mkdir(tw.plain, 0o755))
	require.NoError(t, os.Chtimes(tw.plain, time.Time{}, time.Unix(1, 0)))
	return tw
}

// layer puts a branch on top, as a driver does for a writable layer. It returns
// a copy of the plain tree before that.
func (tw *twins) layer() (old string) {
	root := tw.add()
	for _, dir := range []string{whiteout.AUFSOrphan, whiteout.AUFSPseudo} {
		require.NoError(tw.t, os.Mkdir(filepath.Join(root, dir), 0o700))
	}
	makeFile(tw.t, root, whiteout.AUFSBase)
	old = filepath.Join(tw.dir, fmt.Sprint("old", len(tw.paths)))
	require.NoError(tw.t, aufstest.Copy(old, tw.plain))
	// The root of the branch gets the attributes of the plain tree's root.
	now := fstest.FromPath(tw.t, tw.plain)["."]
	require.NoError(tw.t, os.Chmod(root, os.FileMode(now.Perm())))
	if tw.owns {
		require.NoError(tw.t, os.Chown(root, int(now.UID), int(now.GID)))
	}
	require.NoError(tw.t, os.Chtimes(root, time.Time{}, now.Mtime))
	tw.editor, tw.unmount = tw.mounts.open(tw.t, tw.paths)
	tw.old, tw.shared = fstest.FromPath(tw.t, tw.plain), map[string]bool{}
	for p, n := range tw.old {
		tw.shared[p] = n.Link != ""
	}
	return old
}

func one[T any](tw *twins, values ...T) T { return values[tw.rnd.IntN(len(values))] }

// path draws a path, usually an existing one.
func (tw *twins) path(tree fstest.Tree) string {
	if paths := tree.Paths(); len(paths) > 1 && tw.rnd.IntN(3) > 0 {
		return one(tw, paths[1:]...)
	}
	dirs := []string{"."}
	for p, n := range tree {
		if n.Type() == diff.TypeDir {
			dirs = append(dirs, p)
		}
	}
	slices.Sort(dirs)
	return filepath.Join(one(tw, dirs...), one(tw, "a", "b", "c"))
}

// again draws a path that the parents have and the tree does not, so that files
// are made where others were removed.
func (tw *twins) again(tree fstest.Tree) string {
	var gone []string
	for p := range tw.old {
		if _, ok := tree[p]; !ok {
			gone = append(gone, p)
		}
	}
	slices.Sort(gone)
	if len(gone) == 0 || tw.rnd.IntN(2) > 0 {
		return tw.path(tree)
	}
	return one(tw, gone...)
}

// edit draws one edit. ok is false if two file systems may answer the edit
// differently.
func (tw *twins) edit(tree fstest.Tree) (e fstest.Edit, ok bool) {
	e = fstest.Edit{
		Path: tw.path(tree), Mode: one[uint32](tw, 0o644, 0o755, 0o600, 0o700, 0o4711), TouchParents: tw.rnd.IntN(2) > 0,
		Mtime: time.Unix(int64(tw.rnd.IntN(3)), 0), Body: one(tw, "", "x", "y", "long"),
		UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()),
	}
	e.Op = one(tw, fstest.OpCreate, fstest.OpCreate, fstest.OpMkdir, fstest.OpMkdir, fstest.OpMkdir, fstest.OpSymlink, fstest.OpLink, fstest.OpMknod,
		fstest.OpWrite, fstest.OpAppend, fstest.OpChmod, fstest.OpChown, fstest.OpTouch, fstest.OpSetXattr, fstest.OpRemove,
		fstest.OpRemove, fstest.OpRename, fstest.OpRename, fstest.OpCopyUp, fstest.OpTruncate, fstest.OpPunch, fstest.OpClone,
		fstest.OpExchange, fstest.OpRead, fstest.OpTouchAtime)
	e.Offset, e.Size = int64(tw.rnd.IntN(3)), int64(1+tw.rnd.IntN(3))
	if !tw.owns {
		e.Mode |= 0o700 // so that the directory can be entered again
	}
	n, exists := tree[e.Path]
	kind := n.Type()
	switch e.Op {
	case fstest.OpMknod:
		e.Mode |= diff.TypeFifo
		if tw.owns {
			e.Mode, e.Rdev = e.Mode&diff.PermMask|diff.TypeChar, 0x103
		}
		return e, true
	case fstest.OpSymlink:
		e.To = one(tw, "a", "/b", "../c")
		return e, true
	case fstest.OpCreate, fstest.OpMkdir:
		e.Path = tw.again(tree)
		return e, true
	case fstest.OpRemove:
		return e, true
	case fstest.OpLink:
		e.To = tw.path(tree)
		return e, !tw.shared[e.To] && tree[e.To].Type() != diff.TypeDir
	case fstest.OpRename:
		e.To = tw.path(tree)
		return e, !tw.shared[e.Path] && kind != diff.TypeDir
	case fstest.OpExchange:
		e.To = tw.path(tree)
		inRoot := filepath.Dir(e.Path) == "." // elsewhere aufs may refuse the exchange
		return e, exists && inRoot && !tw.shared[e.Path] && !tw.shared[e.To] && kind != diff.TypeDir && tree[e.To].Type() != diff.TypeDir
	case fstest.OpClone:
		e.To = tw.path(tree)
		return e, kind == diff.TypeRegular && !tw.shared[e.Path] && tree[e.To].Type() == diff.TypeRegular
	case fstest.OpRead:
		return e, true
	case fstest.OpChown:
		if tw.owns {
			e.UID, e.GID = one[uint32](tw, 0, 1, 70000), one[uint32](tw, 0, 1)
		}
	case fstest.OpSetXattr:
		e.Name, e.Body = one(tw, "user.a", "user.b"), one(tw, "x", "y") // copy-up loses attributes with an empty value
		return e, exists && !tw.shared[e.Path] && (kind == diff.TypeRegular || kind == diff.TypeDir)
	case fstest.OpWrite, fstest.OpAppend, fstest.OpTruncate, fstest.OpPunch:
		return e, kind == diff.TypeRegular && !tw.shared[e.Path]
	case fstest.OpChmod:
		return e, kind != diff.TypeSymlink && !tw.shared[e.Path]
	}
	return e, exists && !tw.shared[e.Path]
}

// step makes one edit on both trees.
func (tw *twins) step() {
	tree := fstest.FromPath(tw.t, tw.plain)
	e, ok := tw.edit(tree)
	for dir := filepath.Dir(e.Path); ok && dir != "."; dir = filepath.Dir(dir) {
		ok = tree[dir].Type() != diff.TypeSymlink // the link would lead elsewhere
	}
	for dir := filepath.Dir(e.To); ok && e.Op != fstest.OpSymlink && dir != "." && e.To != ""; dir = filepath.Dir(dir) {
		ok = tree[dir].Type() != diff.TypeSymlink
	}
	if !ok {
		return
	}
	want, got := e.Apply(tw.plain), tw.editor.Apply(e)
	tw.log = append(tw.log, fmt.Sprintf("%s: %v", e, want))
	require.Equal(tw.t, want == nil, got == nil, "%v, aufs: %v\n%s", want, got, strings.Join(tw.log, "\n"))
	if e.Op == fstest.OpLink && want == nil {
		// Until the other name is copied up too, the link is only a pseudo-link.
		require.NoError(tw.t, tw.editor.Apply(fstest.CopyUp(e.To)))
	}
}

func diffBytes(t *testing.T, old, now diff.View) []byte {
	t.Helper()
	var buf bytes.Buffer
	_, err := tar.Write(t.Context(), &buf, diff.Compare(t.Context(), old, now, diff.Options{}), tar.WriteOptions{})
	require.NoError(t, err)
	return buf.Bytes()
}

func dirView(t *testing.T, path string) diff.View {
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return diff.DirView(f)
}

func TestEditedBranchesShowWhatAPlainTreeHolds(t *testing.T) { mountWays(t, testEdited) }

func testEdited(t *testing.T, mounts mountWay) {
	seed := uint64(time.Now().UnixNano())
	rounds := uint64(15)
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		tw := newTwins(t, rand.New(rand.NewPCG(seed, round)), mounts)
		for layer := range 5 {
			old := tw.layer()
			tw.log = append(tw.log, fmt.Sprintf("-- layer %d", layer))
			for range 40 {
				tw.step()
			}
			tw.unmount()
			what := fmt.Sprintf("seed %d, round %d:\n%s", seed, round, strings.Join(tw.log, "\n"))
			now := fstest.FromPath(t, tw.plain)
			v := tw.view()
			v.unsealed = true
			fstest.RequireEqual(t, now, fstest.FromView(t, v), "not sealed, "+what)
			if layer > 0 {
				tw.compareChanges(v, old, "not sealed, "+what)
			}
			tw.seal(what)
			fstest.RequireEqual(t, now, tw.check(what), "sealed, "+what)
			tw.checkModule(now, what)
			if layer > 0 {
				tw.compareChanges(tw.view(), old, "sealed, "+what)
			}
		}
	}
}

// seal rewrites the uppermost branch as sealing its layer does. It checks that
// a second call changes nothing.
func (tw *twins) seal(what string) {
	tw.t.Helper()
	require.NoError(tw.t, emptyBookkeeping(tw.paths[0]), what)
	require.NoError(tw.t, normalize(tw.t.Context(), tw.paths, rootfd.Options{}, ""), what)
	once := fstest.FromPath(tw.t, tw.paths[0])
	require.NoError(tw.t, normalize(tw.t.Context(), tw.paths, rootfd.Options{}, ""), what)
	fstest.RequireEqual(tw.t, once, fstest.FromPath(tw.t, tw.paths[0]), "sealed twice, "+what)
}

// checkModule compares the tree with the tree that the module shows for the
// branches, if the kernel has the module.
func (tw *twins) checkModule(want fstest.Tree, what string) {
	tw.t.Helper()
	if tw.mounts.module {
		fstest.RequireEqual(tw.t, want, shownByModule(tw.t, tw.paths...), "mounted, "+what)
	}
}

// compareChanges compares the changes that the view finds with the changes of
// the plain tree.
func (tw *twins) compareChanges(v *stack, old, what string) {
	tw.t.Helper()
	require.Equal(tw.t, changes(tw.t, dirView(tw.t, old), dirView(tw.t, tw.plain)), changes(tw.t, v.below(), v), what)
	require.Equal(tw.t, diffBytes(tw.t, dirView(tw.t, old), dirView(tw.t, tw.plain)), diffBytes(tw.t, v.below(), v), what)
}

// TestAnyFilesInBranchesAreReadAsTheModuleReadsThem has files that no mount
// writes: marks beside files that they hide, marks in opaque directories, marks
// that hide nothing, and marks that are not regular files.
func TestAnyFilesInBranchesAreReadAsTheModuleReadsThem(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for round := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, round))
		b := newBranches(t)
		for range 2 + rnd.IntN(4) {
			litter(t, rnd, b.add(), 2)
		}
		b.check(fmt.Sprintf("seed %d, round %d: %q", seed, round, b.files()))
	}
}

// litter fills a directory of a branch at random.
func litter(t *testing.T, rnd *rand.Rand, dir string, depth int) {
	for _, name := range []string{"a", "b", "c"} {
		if rnd.IntN(4) == 0 {
			makeFile(t, dir, ".wh."+name)
		}
		switch rnd.IntN(6) {
		case 0:
			makeFile(t, dir, fmt.Sprint(name, "=", rnd.IntN(3)))
		case 1:
			makeFile(t, dir, name+"->x")
		case 2, 3, 4:
			if depth > 0 {
				makeFile(t, dir, name+"/")
				litter(t, rnd, filepath.Join(dir, name), depth-1)
			}
		}
		if name != "a" && rnd.IntN(8) == 0 {
			_ = unix.Link(filepath.Join(dir, "a"), filepath.Join(dir, name)) // fails for a directory, and if the name exists
		}
	}
	if rnd.IntN(4) == 0 {
		makeFile(t, dir, ".wh..wh..opq")
	}
}

func (b *branches) files() (all []string) {
	for _, root := range b.paths {
		for p := range fstest.FromPath(b.t, root) {
			all = append(all, filepath.Join(filepath.Base(root), p))
		}
	}
	return all
}
