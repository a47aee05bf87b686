package aufs

import (
	"errors"
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
	"github.com/layerkeep/layerkeep/mount"
)

// An editor makes edits like one writable mount of the first of some branches.
type editor interface{ Apply(e fstest.Edit) error }

// A mountWay is a way in which tests make edits: through aufs in the kernel, or
// through a substitute.
type mountWay struct {
	module bool
	// open mounts branches. done ends the mount.
	open func(t *testing.T, branches []string) (e editor, done func())
}

var (
	likeModule = mountWay{open: func(_ *testing.T, branches []string) (editor, func()) {
		return aufstest.New(branches[0], branches[1:]), func() {}
	}}
	byModule = mountWay{module: true, open: func(t *testing.T, branches []string) (editor, func()) {
		root, done := mountModule(t, true, branches...)
		return moduleEditor{fstest.MountTimes(root)}, done
	}}
)

// mountWays runs a test with the editor of aufstest, and also with the module
// if the kernel has it.
func mountWays(t *testing.T, test func(t *testing.T, mounts mountWay)) {
	t.Run("as the module does", func(t *testing.T) { test(t, likeModule) })
	t.Run("with the module", func(t *testing.T) {
		requireModule(t)
		test(t, byModule)
	})
}

// moduleEditor edits a mounted tree.
type moduleEditor struct{ times *fstest.DirTimes }

func (m moduleEditor) Apply(e fstest.Edit) error {
	return m.times.Apply(e, func(e fstest.Edit) error { return e.Apply(m.times.Root) })
}

// requireModule skips a test if the kernel cannot mount aufs.
func requireModule(t *testing.T) kernel {
	t.Helper()
	k, err := probeKernel(t.Context(), procFilesystems, t.TempDir(), mount.Mounter{})
	require.NoError(t, err)
	if lacks := listed(procFilesystems); lacks != nil {
		t.Skip(lacks)
	}
	require.NoError(t, k.lacks, "the kernel has aufs")
	return k
}

// mountModule mounts branches, uppermost first, until done is called or the
// test ends.
func mountModule(t *testing.T, writable bool, branches ...string) (root string, done func()) {
	t.Helper()
	k := requireModule(t)
	u := union{source: t.Name(), branches: branches, writable: writable, options: k.options}
	var err error
	u.xino, err = chooseXINO(k.xino, u.source, branches)
	require.NoError(t, err)
	list, err := u.mounts()
	require.NoError(t, err)
	root = t.TempDir()
	require.NoError(t, mount.Mounter{}.All(t.Context(), list, root))
	mounted := true
	done = func() {
		if mounted {
			mounted = false
			require.NoError(t, unix.Unmount(root, 0))
		}
	}
	t.Cleanup(done)
	return root, done
}

// shownByModule reads the tree that the module shows for branches. It omits
// names that are listed and cannot be looked up, see [stack].
func shownByModule(t *testing.T, branches ...string) fstest.Tree {
	t.Helper()
	root, done := mountModule(t, false, branches...)
	defer done()
	f, err := os.Open(root)
	require.NoError(t, err)
	defer f.Close()
	return fstest.FromView(t, lookedUpView{diff.DirView(f)})
}

// lookedUpView is a view without names that cannot be looked up.
type lookedUpView struct{ diff.View }

func (v lookedUpView) Root() (diff.Dir, error) {
	d, err := v.View.Root()
	return lookedUpDir{d}, err
}

type lookedUpDir struct{ diff.Dir }

func (d lookedUpDir) OpenDir(name string) (diff.Dir, error) {
	child, err := d.Dir.OpenDir(name)
	return lookedUpDir{child}, err
}

func (d lookedUpDir) Names() ([]string, error) {
	names, err := d.Dir.Names()
	return slices.DeleteFunc(names, func(name string) bool {
		_, err := d.Lookup(name)
		return slices.ContainsFunc([]error{unix.ENOENT, unix.EIO, unix.EPERM, unix.ENAMETOOLONG}, func(e error) bool { return errors.Is(err, e) })
	}), err
}

// TestTheModuleShowsWhatTheViewShows compares views of random branches with the
// kernel's mount of them.
func TestTheModuleShowsWhatTheViewShows(t *testing.T) {
	requireModule(t)
	seed := uint64(time.Now().UnixNano())
	rounds := uint64(200)
	if testing.Short() {
		rounds = 40
	}
	twice := 0
	for round := range rounds {
		rnd := rand.New(rand.NewPCG(seed, round))
		b := newBranches(t)
		for range 2 + rnd.IntN(5) {
			litter(t, rnd, b.add(), 2)
		}
		what := fmt.Sprintf("seed %d, round %d: %q", seed, round, b.files())
		fstest.RequireEqual(t, shownByModule(t, b.paths...), fstest.FromView(t, b.view()), what)
		if opaqueTwice(b.files()) {
			twice++
		}
	}
	t.Logf("seed %d: %d random stacks, in %d of them a directory is opaque in several branches", seed, rounds, twice)
	require.Positive(t, twice)
}

// opaqueTwice reports whether a directory is opaque in several branches.
func opaqueTwice(files []string) bool {
	seen := map[string]bool{}
	for _, f := range files {
		_, p, _ := strings.Cut(f, "/")
		if filepath.Base(p) != ".wh..wh..opq" || p == ".wh..wh..opq" {
			continue
		}
		if seen[p] {
			return true
		}
		seen[p] = true
	}
	return false
}

func TestTheModuleShowsTheTableOfBranches(t *testing.T) {
	requireModule(t)
	for name, c := range branchTable {
		t.Run(name, func(t *testing.T) {
			b := newBranches(t, c.branches...)
			require.Equal(t, c.want, listing(shownByModule(t, b.paths...)))
		})
	}
}

// accessList is a POSIX ACL: the owner may do everything, and user 7 may read.
var accessList = []byte("\x02\x00\x00\x00" +
	"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x07\x00\x00\x00" + "\x04\x00\x04\x00\xff\xff\xff\xff" +
	"\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")

func TestAccessControlListsWorkThroughTheModule(t *testing.T) {
	requireModule(t)
	b := newBranches(t, "old=1", "")
	const name = "system.posix_acl_access"
	if err := unix.Setxattr(b.paths[1]+"/old", name, accessList, 0); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("no access control lists in %s: %v", b.dir, err)
	}
	root, done := mountModule(t, true, b.paths...)
	defer done()
	buf := make([]byte, 100)
	n, err := unix.Getxattr(root+"/old", name, buf)
	require.NoError(t, err)
	require.Equal(t, accessList, buf[:n])
	require.NoError(t, os.WriteFile(root+"/new", nil, 0o600))
	require.NoError(t, unix.Setxattr(root+"/new", name, accessList, 0))
	require.NoError(t, os.Chmod(root+"/old", 0o640), "copied up")
	tree := fstest.FromPath(t, b.paths[0])
	require.Equal(t, string(accessList), tree["new"].Xattrs[name])
	require.Equal(t, string(accessList), tree["old"].Xattrs[name])
}
