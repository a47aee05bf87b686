package aufs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/mount"
)

// ways are all ways to show a stack without aufs.
var ways = map[string]driver.Fallbacks{
	"overlay":             {},
	"overlay by mount(2)": {MountWay: mount.WayMount2},
	"overlay, userxattr":  {UserXattr: true},
	"overlay, no escapes": {NoEscape: true},
	"merged copy":         {NoOverlay: true},
	"merged copy, slowly": {NoOverlay: true, NoFchmodat2: true, NoOpenat2: true, SingleThread: true, MountWay: mount.WayMount2},
}

// layersOf returns the branches as sealed layers.
func (b *branches) layersOf() layers {
	l := layers{own: true, sealed: true, branches: b.paths}
	for _, p := range b.paths {
		l.ids = append(l.ids, driver.ID(filepath.Base(p)))
	}
	l.id = l.ids[0]
	l.label = layerdir.Label(filepath.Join(b.dir, "records", string(l.id)))
	return l
}

func (b *branches) translator(opts driver.Options) *translator {
	b.t.Helper()
	tr, err := newTranslator(filepath.Join(b.dir, "translations"), opts)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, tr.close()) })
	return tr
}

// mounted mounts the layers as the translator says, and calls fn.
func mounted(t *testing.T, tr *translator, l layers, fn func(root string)) {
	t.Helper()
	mounts, err := tr.mount(t.Context(), l)
	require.NoError(t, err)
	mounter := mount.Mounter{First: tr.opts.Fallbacks.MountWay}
	require.NoError(t, mounter.WithTemp(t.Context(), mounts, func(root string) error {
		fn(root)
		return nil
	}))
}

// requireShown mounts the translation of the branches and compares the mount
// with the view.
func (b *branches) requireShown(tr *translator, what string) {
	b.t.Helper()
	want := fstest.FromView(b.t, b.view())
	mounted(b.t, tr, b.layersOf(), func(root string) {
		fstest.RequireEqual(b.t, want, fstest.FromPath(b.t, root), what)
	})
}

// inMemory puts the temporary directories of the test on a tmpfs, where the
// sync of each translation takes no time. It does nothing if a tmpfs of this
// kernel has no user attributes.
func inMemory(t *testing.T) {
	t.Helper()
	if fstest.TmpfsKeepsUserXattrs(t) {
		t.Setenv("TMPDIR", fstest.ScratchSize(t, fstest.Tmpfs, 64))
	}
}

// eachWay runs fn for each of the ways.
func eachWay(t *testing.T, fn func(t *testing.T, f driver.Fallbacks)) {
	inMemory(t)
	for name, f := range ways {
		t.Run(name, func(t *testing.T) { fn(t, f) })
	}
}

func TestATranslationShowsWhatTheViewShows(t *testing.T) {
	eachWay(t, func(t *testing.T, f driver.Fallbacks) {
		for name, lists := range map[string][]string{
			"one branch alone":                 {"a=1 d/b=2 l->a e/"},
			"directories merge":                {"d/a=1 d/b=1", "d/b=2 d/c=2"},
			"a whiteout":                       {"a=1 d/b=1 c=1", ".wh.a d/.wh.b"},
			"a whiteout in the middle":         {"a=1", ".wh.a", "b=3"},
			"made again above a whiteout":      {"a=1", ".wh.a", "a=3"},
			"a directory made again":           {"d/a=1", ".wh.d", "d/b=3"},
			"a name beside its whiteout":       {"a=1", "a=2 .wh.a"},
			"beside it in the lowest":          {"a=1 .wh.a b=1"},
			"a directory beside its whiteout":  {"d/a=1", "d/b=2 .wh.d", "d/c=3"},
			"opaque directories":               {"d/a=1", "d/.wh..wh..opq d/b=2", "d/.wh..wh..opq d/c=3"},
			"below an opaque one":              {"d/e/a=1", "d/.wh..wh..opq d/e/b=2", "d/e/c=3"},
			"whiteouts in an opaque one":       {"d/a=1 d/b=1", "d/.wh..wh..opq d/.wh.a"},
			"an opaque root hides nothing":     {"a=1", ".wh..wh..opq b=2"},
			"a file over a directory":          {"d/a=1", "d=2"},
			"a directory over a file":          {"d=1", "d/a=2 d/.wh.b"},
			"a directory over a file over one": {"d/a=1", "d=2", "d/c=3"},
			"whiteouts of nothing":             {"a=1", ".wh.b d/.wh.c e/.wh..wh..opq"},
			"whiteouts in the lowest":          {".wh.a d/.wh.b", "x=1"},
			"bookkeeping":                      {"a=1 .wh..wh.aufs .wh..wh.orph/x=1 .wh..wh.plnk/2.3=4", ".wh..wh.aufs .wh..wh.orph/ .wh..wh.plnk/"},
			"marks of no name":                 {"a=1 .wh. .wh.. .wh...", ".wh."},
			"hard links":                       {"a=1 b==a d/c==a", "x=2"},
			"a pseudo-link":                    {"a=1", ".wh..wh.plnk/2.9=5 b==.wh..wh.plnk/2.9 c==.wh..wh.plnk/2.9"},
			"the other name is hidden":         {"a=1 b==a", ".wh.a"},
			"a name that is too long":          {strings.Repeat("n", 253) + "=1", "x=2"},
			"opaque below a file":              {"d/a=1", "d/.wh..wh..opq d/b=2", "d=3", "d/.wh..wh..opq d/c=4"},
			"opaque, merged and opaque":        {"d/a=1", "d/.wh..wh..opq d/b=2", "d/c=3 d/.wh.b", "d/.wh..wh..opq d/e=4"},
			"opaque below opaque ones":         {"d/e/a=1", "d/e/.wh..wh..opq d/e/b=2", "d/.wh..wh..opq d/e/c=3", "d/.wh..wh..opq d/e/f=4"},
		} {
			b := newBranches(t, lists...)
			b.requireShown(b.translator(driver.Options{Fallbacks: f}), name)
		}
	})
}

func TestATranslationShowsAllAttributesAndTypes(t *testing.T) {
	eachWay(t, func(t *testing.T, f driver.Fallbacks) {
		b := newBranches(t, "f=1 same=1 other==same d/e/f=1", "d/g=2 d/.wh.nothing")
		if !fstest.CanOwn(t, b.dir) {
			t.Skip("needs to make devices and trusted attributes")
		}
		top, low := b.paths[0], b.paths[1]
		for i, special := range []uint32{unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK} {
			name := fmt.Sprintf("%s/d/special%d", []string{top, low}[i%2], i)
			require.NoError(t, unix.Mknod(name, special|0o640, int(unix.Mkdev(1, 3))))
			require.NoError(t, unix.Lchown(name, 1+i, 2))
			require.NoError(t, unix.Link(name, name+"again"))
			require.NoError(t, unix.Lsetxattr(name, "trusted.x", []byte("y"), 0))
		}
		require.NoError(t, os.Symlink("../nowhere", top+"/d/link"))
		require.NoError(t, unix.Lchown(top+"/d/link", 70000, 5))
		require.NoError(t, os.Chmod(low+"/f", 0o7711|os.ModeSetuid))
		require.NoError(t, os.Chmod(low+"/same", 0))
		require.NoError(t, os.Chmod(top+"/d", 0o711|os.ModeSticky))
		require.NoError(t, unix.Setxattr(top+"/d", "user.d", []byte("1"), 0))
		require.NoError(t, unix.Setxattr(low+"/f", "security.capability", capability, 0))
		for _, p := range []string{low + "/f", top + "/d", low + "/d/e", top, low} {
			require.NoError(t, os.Chtimes(p, time.Time{}, time.Unix(-5, 123456789)))
		}
		b.requireShown(b.translator(driver.Options{Fallbacks: f}), "")
	})
}

// capability is cap_net_raw=ep, as revision 2.
var capability = []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// TestOverlaysOwnAttributesOfALayerStayWhatTheyAre: if overlay obeyed them, it
// would show other files.
func TestOverlaysOwnAttributesOfALayerStayWhatTheyAre(t *testing.T) {
	eachWay(t, func(t *testing.T, f driver.Fallbacks) {
		b := newBranches(t, "secret=1 d/a=1 m=body x=1", "d/b=2 m=stolen n==m e/c=1 file= link->x")
		if !fstest.CanOwn(t, b.dir) {
			t.Skip("needs to set trusted attributes")
		}
		top := b.paths[0]
		for path, attrs := range map[string][]string{
			"m": {"metacopy", "redirect=/secret"}, "d": {"opaque=y", "origin=x"}, "e": {"redirect=/d", "overlay.opaque=y"},
			"file": {"whiteout=", "overlay.overlay.x=1"}, "link": {"metacopy"},
		} {
			for _, prefix := range []string{"trusted.overlay.", "user.overlay."} {
				for _, a := range attrs {
					name, value, _ := strings.Cut(a, "=")
					if path != "link" || prefix == "trusted.overlay." {
						require.NoError(t, unix.Lsetxattr(top+"/"+path, prefix+name, []byte(value), 0))
					}
				}
			}
		}
		b.requireShown(b.translator(driver.Options{Fallbacks: f}), "")
	})
}

func TestADeviceThatIsAWhiteoutToOverlayIsShown(t *testing.T) {
	inMemory(t)
	b := newBranches(t, "a=1 b=1", "c=1")
	if !fstest.CanOwn(t, b.dir) {
		t.Skip("needs to make devices")
	}
	require.NoError(t, unix.Mknod(b.paths[0]+"/a", unix.S_IFCHR|0o600, 0))
	var log bytes.Buffer
	tr := b.translator(driver.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b.requireShown(tr, "")
	require.Contains(t, log.String(), "character device 0:0", "says why it copied")
	list, err := tr.mount(t.Context(), b.layersOf())
	require.NoError(t, err)
	require.Equal(t, "bind", list[0].Type)
}

// A store with translations may be used later under a newer or an older kernel.
func TestATranslationWithOverlaysOwnAttributesIsUsedWhereItCanBeShown(t *testing.T) {
	inMemory(t)
	b := newBranches(t, "a=1", "f=2 g=3")
	if !fstest.CanOwn(t, b.dir) {
		t.Skip("needs to set trusted attributes")
	}
	require.NoError(t, unix.Setxattr(b.paths[0]+"/f", "trusted.overlay.x", []byte("1"), 0))
	old := b.translator(driver.Options{Fallbacks: driver.Fallbacks{NoEscape: true}})
	here := b.translator(driver.Options{})
	o, err := here.probe(t.Context())
	require.NoError(t, err)
	if o.lacks != nil || !o.features.Escapes {
		t.Skip("needs an overlay that shows escaped attributes (Linux 6.7)")
	}
	kinds := func(tr *translator) string {
		b.requireShown(tr, "")
		mounts, err := tr.mount(t.Context(), b.layersOf())
		require.NoError(t, err)
		return mounts[0].Type
	}
	require.Equal(t, "bind", kinds(old), "a copy, as overlay would hide the attribute")
	require.Equal(t, "overlay", kinds(here), "that there is a copy counts for nothing")
	require.Equal(t, "bind", kinds(old), "that there is a translation counts for nothing")
}

func TestEditedBranchesAreTranslatedRight(t *testing.T) {
	eachWay(t, func(t *testing.T, f driver.Fallbacks) {
		seed := uint64(time.Now().UnixNano())
		rounds := uint64(4)
		if testing.Short() {
			rounds = 1
		}
		for round := range rounds {
			tw := newTwins(t, rand.New(rand.NewPCG(seed, round)), likeModule)
			tr := tw.translator(driver.Options{Fallbacks: f})
			for range 4 {
				tw.layer()
				for range 40 {
					tw.step()
				}
				what := fmt.Sprintf("seed %d, round %d:\n%s", seed, round, strings.Join(tw.log, "\n"))
				tw.unmount()
				tw.seal(what)
				tw.requireShown(tr, what)
			}
		}
	})
}

func TestAnyFilesInBranchesAreTranslatedRight(t *testing.T) {
	eachWay(t, func(t *testing.T, f driver.Fallbacks) {
		seed := uint64(time.Now().UnixNano())
		for round := range uint64(25) {
			rnd := rand.New(rand.NewPCG(seed, round))
			b := newBranches(t)
			for range 2 + rnd.IntN(4) {
				litter(t, rnd, b.add(), 2)
			}
			b.requireShown(b.translator(driver.Options{Fallbacks: f}), fmt.Sprintf("seed %d, round %d: %q", seed, round, b.files()))
		}
	})
}

func TestAsManyLayersAsAUFSTakesAreShown(t *testing.T) {
	inMemory(t)
	lists := make([]string, maxParents)
	for i := range lists {
		lists[i] = fmt.Sprintf("f%d=%d d/f%d=1 d/last=%d .wh.f%d d/.wh.f%d", i, i, i, i, i-7, i-5)
	}
	b := newBranches(t, lists...)
	tr := b.translator(driver.Options{})
	b.requireShown(tr, "")
	mounted(t, tr, b.layersOf(), func(root string) {
		require.ErrorIs(t, os.WriteFile(root+"/f", nil, 0o600), unix.EROFS)
	})
}

func TestFilesWithMoreNamesThanAFileCanHaveAreCopied(t *testing.T) {
	const limit = 65000 // the link limit of ext4
	if testing.Short() {
		t.Skip("makes 65,000 links")
	}
	dir := fstest.ScratchSize(t, fstest.Ext4, 110)
	b := newBranches(t)
	b.dir = dir
	root := b.add()
	for _, f := range []struct {
		name string
		n    int
	}{{"elsewhere", 3}, {"here", manyNames + 1}} {
		makeFile(t, root, f.name+"0=body")
		for i := range f.n - 1 {
			require.NoError(t, os.Link(root+"/"+f.name+"0", fmt.Sprintf("%s/%s%d", root, f.name, i+1)))
		}
	}
	// The first file has room for only two more names, which is not enough. So it
	// is copied after it was linked.
	require.NoError(t, os.Mkdir(dir+"/outside", 0o700))
	for i := range limit - 3 - 2 {
		require.NoError(t, os.Link(root+"/elsewhere0", fmt.Sprintf("%s/outside/%d", dir, i)))
	}
	tr := b.translator(driver.Options{})
	b.requireShown(tr, "")
	view := b.view()
	tr.mark(view, b.layersOf().ids)
	require.Len(t, fstest.FromView(t, view), manyNames+1+3+1)
}

func TestFilesOfAnotherFileSystemAreCopied(t *testing.T) {
	inMemory(t)
	b := newBranches(t, "a=1 d/b=1", "d/")
	d := b.paths[0] + "/d"
	require.NoError(t, unix.Mount("other", d, "tmpfs", 0, "size=1m,mode=0711"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(d, 0)) })
	for _, f := range []string{"x=1", "y==x", "e/z==x", ".wh.b", "l->x", "m==l"} {
		makeFile(t, d, f)
	}
	sparse, err := os.Create(d + "/sparse")
	require.NoError(t, err)
	_, err = sparse.WriteAt([]byte("middle"), 300_000)
	require.NoError(t, errors.Join(err, sparse.Truncate(600_000), sparse.Close()))
	require.NoError(t, os.Chmod(d+"/x", 0o400))
	require.NoError(t, unix.Mkfifo(d+"/p", 0o622))
	tr := b.translator(driver.Options{})
	b.requireShown(tr, "")
	var st unix.Stat_t
	o, err := tr.probe(t.Context())
	require.NoError(t, err)
	enc := whiteout.Overlay
	if o.features.UserXattr {
		enc = whiteout.OverlayUser
	}
	require.NoError(t, unix.Stat(tr.trees[enc].Path("b1", treeDir, "d/sparse"), &st))
	require.Less(t, st.Blocks*512, int64(100_000), "holes stay holes")
}

func TestFilesThatCannotBeLinkedAreCopied(t *testing.T) {
	b := newBranches(t)
	b.dir = fstest.Scratch(t, fstest.Ext4)
	root := b.add()
	for _, f := range []string{"a=1", "b==a", "c=1", "d/x==a", "other=2"} {
		makeFile(t, root, f)
	}
	setFlags(t, root+"/a", unix.STATX_ATTR_IMMUTABLE)
	setFlags(t, root+"/c", unix.STATX_ATTR_APPEND)
	b.requireShown(b.translator(driver.Options{}), "")
}

// setFlags sets flags of chattr(1) until the test ends.
func setFlags(t *testing.T, path string, flags int) {
	t.Helper()
	set := func(flags int) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if err := set(flags); err != nil {
		t.Skipf("needs to make files immutable: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, set(0)) })
}

func TestNothingWritesToALayerThroughItsTranslation(t *testing.T) {
	inMemory(t)
	b := newBranches(t, "d/f=1", "g=2")
	tr := b.translator(driver.Options{})
	mounts, err := tr.mount(t.Context(), b.layersOf())
	require.NoError(t, err)
	for _, m := range mounts {
		require.True(t, m.ReadOnly)
		if m.Overlay != nil { // it is not a copy
			require.Empty(t, m.Overlay.Upper)
		}
	}
	before := fstest.FromPath(t, b.paths[1])
	mounted(t, tr, b.layersOf(), func(root string) {
		for _, err := range []error{
			os.WriteFile(root+"/d/f", nil, 0o600), os.Chmod(root+"/d/f", 0o777), os.Remove(root + "/g"),
			os.Chtimes(root+"/d/f", time.Now(), time.Now()), unix.Setxattr(root+"/g", "user.x", nil, 0),
			unix.Mount("", root, "", unix.MS_REMOUNT, ""),
		} {
			require.True(t, errors.Is(err, unix.EROFS) || errors.Is(err, unix.EINVAL), "%v", err)
		}
	})
	fstest.RequireEqual(t, before, fstest.FromPath(t, b.paths[1]), "")
}

func TestATranslationIsMadeOnceForAllWhoWait(t *testing.T) {
	inMemory(t)
	b := newBranches(t, "a=1", "b=1", "c=1")
	var log lockedBuffer
	tr := b.translator(driver.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := tr.mount(t.Context(), b.layersOf()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	entries := 0
	for _, s := range tr.stores() {
		ids, err := s.List()
		require.NoError(t, err)
		entries += len(ids)
		left, err := filepath.Glob(s.Root() + "/.new-*")
		require.NoError(t, err)
		require.Empty(t, left)
	}
	require.Equal(t, 3, entries)
	require.LessOrEqual(t, strings.Count(log.String(), "\n"), 3, "one line for each layer at most, whoever made it:\n%s", &log)
	before := log.String()
	_, err := tr.mount(t.Context(), b.layersOf())
	require.NoError(t, err)
	require.Equal(t, before, log.String(), "nothing is said of what is there")
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func TestOneLineSaysThatLayersWereTranslated(t *testing.T) {
	inMemory(t)
	b := newBranches(t, "a=1", "b=1", "c=1")
	var log bytes.Buffer
	tr := b.translator(driver.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b.requireShown(tr, "")
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), "WARN")
	require.Contains(t, log.String(), "translating the layers, once, for reading")
	require.Contains(t, log.String(), "layers=3")
}

func TestAFailedTranslationLeavesNothing(t *testing.T) {
	for name, f := range map[string]driver.Fallbacks{"overlay": {}, "merged copy": {NoOverlay: true}} {
		t.Run(name, func(t *testing.T) {
			inMemory(t)
			b := newBranches(t, "a=1 d/b=1", "c=1")
			tr := b.translator(driver.Options{Fallbacks: f})
			makeFile(t, b.paths[0], "d/.wh.b/") // no view can read this
			_, err := tr.mount(t.Context(), b.layersOf())
			require.ErrorIs(t, err, unix.EIO)
			require.NoError(t, os.Remove(b.paths[0]+"/d/.wh.b"))
			requireNothingLeft(t, tr, b.layersOf().ids[0])

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = tr.mount(ctx, b.layersOf())
			require.ErrorIs(t, err, context.Canceled)
			requireNothingLeft(t, tr, b.layersOf().ids[0])
			b.requireShown(tr, "and then it works")
		})
	}
}

func TestTranslationsGoWithTheirLayerAndByTrim(t *testing.T) {
	eachWay(t, func(t *testing.T, f driver.Fallbacks) {
		b := newBranches(t, "a=1", "b=2")
		l := b.layersOf()
		lower := layers{id: "b0", own: true, sealed: true, ids: l.ids[1:], branches: l.branches[1:]}
		all := func() ([]layers, error) { return []layers{lower, l}, nil }
		kept := func(tr *translator) (ids []driver.ID) {
			for _, s := range tr.stores() {
				list, err := s.List()
				require.NoError(t, err)
				ids = append(ids, list...)
			}
			slices.Sort(ids)
			return slices.Compact(ids)
		}
		tr := b.translator(driver.Options{Fallbacks: f})
		o, err := tr.probe(t.Context())
		require.NoError(t, err)
		copies := o.lacks != nil
		want := []driver.ID{"b0", "b1"}
		if copies {
			want = want[1:]
		}
		b.requireShown(tr, "")
		require.Equal(t, want, kept(tr))
		require.NoError(t, tr.trim(t.Context(), all))
		require.Equal(t, want, kept(tr), "handed out by this driver")

		later := b.translator(driver.Options{Fallbacks: f})
		require.NoError(t, later.cleanup(t.Context(), all))
		require.Equal(t, want, kept(later), "the layers are still there")
		view := l
		view.id, view.own = "view", false
		require.NoError(t, later.trim(t.Context(), func() ([]layers, error) { return []layers{lower, l, view}, nil }))
		require.Equal(t, want, kept(later), "there is a view of it")
		mounted(t, tr, l, func(root string) {
			require.NoError(t, later.trim(t.Context(), all))
			require.FileExists(t, root+"/a", "mounted")
			if copies {
				require.ErrorIs(t, later.drop(t.Context(), "b1"), driver.ErrBusy)
			}
		})
		require.NoError(t, later.trim(t.Context(), all))
		require.Empty(t, kept(later))

		b.requireShown(tr, "made again")
		require.NoError(t, later.cleanup(t.Context(), func() ([]layers, error) { return []layers{lower}, nil }))
		require.NotContains(t, kept(later), driver.ID("b1"), "the layer is gone")

		b.requireShown(later, "made again")
		require.NoError(t, later.drop(t.Context(), "b1"))
		require.NotContains(t, kept(later), driver.ID("b1"))
		require.NoError(t, later.drop(t.Context(), "b1"))
	})
}

// TestATranslationIsNoHardLinkToAView: otherwise every diff of a translated
// layer would search for the other names.
func TestATranslationIsNoHardLinkToAView(t *testing.T) {
	inMemory(t)
	b := newBranches(t, "a=1 d/b=1 two=1 names==two", "c=1 .wh.d")
	tr := b.translator(driver.Options{})
	b.requireShown(tr, "")
	var st unix.Stat_t
	require.NoError(t, unix.Stat(b.paths[1]+"/a", &st))
	require.EqualValues(t, 2, st.Nlink, "it is one on disk")
	v := b.view()
	tr.mark(v, b.layersOf().ids)
	for _, w := range []diff.View{v, v.below()} {
		root, err := w.Root()
		require.NoError(t, err)
		n, err := root.Lookup("a")
		require.NoError(t, err)
		require.EqualValues(t, 1, n.Nlink)
		n, err = root.Lookup("two")
		require.NoError(t, err)
		require.GreaterOrEqual(t, n.Nlink, uint64(2))
		require.NoError(t, root.Close())
	}
}
