package tar

import (
	stdtar "archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// rawLayer is a layer of one entry with extended records that the standard
// library does not write.
func rawLayer(t *testing.T, e fstest.Entry, records map[string]string) []byte {
	t.Helper()
	var ext strings.Builder
	for k, v := range records {
		n := len(k) + len(v) + 3
		for size := n + 1; ; size++ {
			if size == n+len(fmt.Sprint(size)) {
				fmt.Fprintf(&ext, "%d %s=%s\n", size, k, v)
				break
			}
		}
	}
	x := fstest.File("pax", ext.String())
	x.Mtime = e.Mtime.Truncate(1e9)
	e.Mtime = x.Mtime
	head := fstest.Layer(t, x)
	head = head[:len(head)-1024]
	head[156] = stdtar.TypeXHeader
	copy(head[148:156], checksum(head[:512]))
	return append(head, fstest.Layer(t, e)...)
}

func checksum(header []byte) string {
	sum := 0
	for i, b := range header {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int(b)
	}
	return fmt.Sprintf("%06o\x00 ", sum)
}

func TestWhatNoLayerMaySay(t *testing.T) {
	requireRoot(t)
	ok := fstest.File("ok", "x")
	typed := func(flag byte) fstest.Entry { return fstest.File("x", "").WithType(flag) }
	big := fstest.File("big", "")
	for name, c := range map[string]struct {
		entries []fstest.Entry
		says    string
	}{
		"W6 a whiteout of nothing":              {[]fstest.Entry{ok, fstest.File(".wh.", "")}, ".wh."},
		"W6 a whiteout of the directory":        {[]fstest.Entry{ok, fstest.File("d/.wh..", "")}, ".wh.."},
		"W6 a whiteout of the parent":           {[]fstest.Entry{ok, fstest.File("d/.wh...", "")}, ".wh..."},
		"a symlink to a path with a marker":     {[]fstest.Entry{fstest.Symlink("s", ".wh.d"), fstest.File("s/x", "")}, ".wh.d"},
		"a name that leaves the root":           {[]fstest.Entry{ok, fstest.File("../x", "")}, "leaves the root"},
		"a name that leaves and comes back":     {[]fstest.Entry{ok, fstest.File("a/../../root/x", "")}, "leaves the root"},
		"A3 a root that is a file":              {[]fstest.Entry{ok, fstest.File(".", "x")}, "root"},
		"a hard link to the root":               {[]fstest.Entry{fstest.Link("l", "/")}, "directory"},
		"a hard link to a directory":            {[]fstest.Entry{fstest.Dir("d"), fstest.Link("l", "d")}, "directory"},
		"a hard link to a name of 256 bytes":    {[]fstest.Entry{fstest.Symlink("s", strings.Repeat("n", 256)), fstest.Link("l", "s/x")}, "exist"},
		"H4 a hard link to nothing":             {[]fstest.Entry{fstest.Link("l", "no/such")}, "no/such"},
		"a hard link to a marker":               {[]fstest.Entry{fstest.Whiteout("x"), fstest.Link("l", ".wh.x")}, ".wh.x"},
		"a hard link through a loop":            {[]fstest.Entry{fstest.Symlink("a", "b"), fstest.Symlink("b", "a"), fstest.Link("l", "a/x")}, "symbolic links"},
		"a component of 256 bytes":              {[]fstest.Entry{fstest.File("d/"+strings.Repeat("n", 256), "")}, "256 bytes"},
		"a symlink's component of 256 bytes":    {[]fstest.Entry{fstest.Symlink("s", strings.Repeat("n", 256)), fstest.File("s/x", "")}, "256 bytes"},
		"a symlink without a target":            {[]fstest.Entry{fstest.Symlink("s", "").WithType(stdtar.TypeSymlink)}, "target"},
		"a symlink target of a page":            {[]fstest.Entry{fstest.Symlink("s", strings.Repeat("t", 4096))}, "4096"},
		"a path of more than MaxPath bytes":     {longPath(), "bytes"},
		"A4 a user id that means \"no change\"": {[]fstest.Entry{big.WithOwner(1<<32-1, 0)}, "owner"},
		"A4 a group id of 33 bits":              {[]fstest.Entry{big.WithOwner(0, 1<<32)}, "group"},
		"a type flag that nobody knows":         {[]fstest.Entry{typed('Z')}, "type flag"},
		"T6 a layer for Windows":                {[]fstest.Entry{fstest.Dir("Files"), fstest.Dir("Hives"), fstest.File("Hives/x", "")}, "Windows"},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			b := newPlainBed(t, base)
			before := b.tree(t)
			_, err := b.apply(t, fstest.Layer(t, c.entries...), UnpackOptions{})
			require.ErrorIs(t, err, diff.ErrInvalidLayer)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "offset")
			fstest.RequireEqual(t, before, b.tree(t), "after the refused layer")
		})
	}
}

func TestADeviceNumberIsNeverCutOff(t *testing.T) {
	requireRoot(t)
	for name, c := range map[string]struct {
		flag         byte
		major, minor int64
	}{
		"a major number of 13 bits, which would be a whiteout": {stdtar.TypeChar, 1 << 12, 0},
		"a minor number of 21 bits":                            {stdtar.TypeChar, 1, 1 << 20},
		"another disk":                                         {stdtar.TypeBlock, 1<<12 + 8, 0},
	} {
		t.Run(name, func(t *testing.T) {
			layer := fstest.Layer(t, fstest.Char("d", c.major, c.minor).WithType(c.flag))
			_, _, err := unpackNew(t, bytes.NewReader(layer), UnpackOptions{})
			require.ErrorIs(t, err, diff.ErrInvalidLayer)
			require.ErrorContains(t, err, fmt.Sprintf("%d:%d", c.major, c.minor))
		})
	}
	_, _, err := unpackNew(t, bytes.NewReader(fstest.Layer(t, fstest.Char("d", 1<<12-1, 1<<20-1))), UnpackOptions{})
	require.NoError(t, err)
}

func TestChainsOfLongSymlinksDoNotMultiplyTheWork(t *testing.T) {
	requireRoot(t)
	const chain = 250
	long := strings.Repeat("/.", 2000)
	entries := []fstest.Entry{fstest.Dir("l0")}
	for i := range chain {
		entries = append(entries, fstest.Symlink(fmt.Sprintf("l%d", i+1), fmt.Sprintf("l%d%s", i, long)))
	}
	last := fmt.Sprintf("l%d/", chain)
	once := append(entries, fstest.File(last+"f", ""))
	_, _, err := unpackNew(t, bytes.NewReader(fstest.Layer(t, once...)), UnpackOptions{})
	require.NoError(t, err, "once is no harm")
	for i := range 100 {
		entries = append(entries, fstest.File(fmt.Sprintf("%sd%d/f", last, i), ""))
	}
	_, _, err = unpackNew(t, bytes.NewReader(fstest.Layer(t, entries...)), UnpackOptions{})
	require.ErrorIs(t, err, diff.ErrInvalidLayer)
	require.ErrorContains(t, err, "symbolic links")
}

func TestWhatPathsImplyCountsAsEntries(t *testing.T) {
	requireRoot(t)
	deep := strings.Repeat("d/", 40)
	for name, entries := range map[string][]fstest.Entry{
		"directories": {fstest.File("a/"+deep+"f", ""), fstest.File("b/"+deep+"f", ""), fstest.File("c/"+deep+"f", "")},
		"markers":     {fstest.Whiteout("a/" + deep + "f"), fstest.Opaque("b/" + deep), fstest.Whiteout("c/" + deep + "f")},
	} {
		t.Run(name, func(t *testing.T) {
			layer := fstest.Layer(t, entries...)
			for _, detached := range []bool{false, true} {
				_, _, err := unpackNew(t, bytes.NewReader(layer), UnpackOptions{Detached: detached, Limits: Limits{Entries: 100}})
				require.ErrorIs(t, err, diff.ErrInvalidLayer)
				require.ErrorContains(t, err, "100 entries")
				_, _, err = unpackNew(t, bytes.NewReader(layer), UnpackOptions{Detached: detached, Limits: Limits{Entries: 130}})
				require.NoError(t, err)
			}
		})
	}
}

func TestADeepPathIsKeptInThePlaceOfItsNames(t *testing.T) {
	requireRoot(t)
	deep := strings.Repeat(strings.Repeat("d", 200)+"/", 400)
	layer := fstest.Layer(t, fstest.File(deep+"f", ""))
	d, _, err := Unpack(t.Context(), staging(t, t.TempDir()), bytes.NewReader(layer), UnpackOptions{Detached: true})
	require.NoError(t, err)
	var kept bytes.Buffer
	require.NoError(t, d.Save(&kept))
	require.Less(t, kept.Len(), 4*len(deep))
}

func TestANameWithANULIsRefused(t *testing.T) {
	requireRoot(t)
	_, _, err := unpackNew(t, bytes.NewReader(rawLayer(t, fstest.File("f", ""), map[string]string{"path": "a\x00b"})), UnpackOptions{})
	require.ErrorIs(t, err, diff.ErrInvalidLayer)
	_, err = cleanPath("a\x00b", 10, maxName)
	require.ErrorIs(t, err, diff.ErrInvalidLayer)
}

func TestOneWindowsNameAloneIsNothingSpecial(t *testing.T) {
	requireRoot(t)
	dir, _, err := unpackNew(t, bytes.NewReader(fstest.Layer(t, fstest.Dir("Files"), fstest.File("Files/x", "x"))), UnpackOptions{})
	require.NoError(t, err)
	require.Equal(t, "x", fstest.FromPath(t, dir.Name())["Files/x"].Body)
	_, _, err = unpackNew(t, bytes.NewReader(rawLayer(t, fstest.File("Files/x", ""), map[string]string{"MSWINDOWS.fileattr": "32"})), UnpackOptions{})
	require.ErrorIs(t, err, diff.ErrInvalidLayer)
}

func TestAbsoluteNamesAndSymlinksStayInside(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	require.NoError(t, os.Mkdir(outside, 0o755))
	secret := filepath.Join(outside, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	before := fstest.FromPath(t, outside)
	b := newPlainBed(t, base)
	_, err := b.apply(t, fstest.Layer(t,
		fstest.Symlink("s", outside), fstest.File("s/secret", "inside"), fstest.File(secret, "again"),
		fstest.Symlink("up", strings.Repeat("../", 40)+outside[1:]), fstest.Link("up/hard", "up/secret"),
		fstest.Dir("d"), fstest.File("d/x", ""), fstest.Symlink("d", outside), fstest.File("d/y", "y"),
	), UnpackOptions{})
	require.NoError(t, err)
	fstest.RequireEqual(t, before, fstest.FromPath(t, outside), "the directory outside")
	tree := b.tree(t)
	require.Equal(t, "again", tree[secret[1:]].Body)
	require.Equal(t, "y", tree[outside[1:]+"/y"].Body)
	require.Equal(t, outside[1:]+"/hard", tree[outside[1:]+"/secret"].Link)
}

func TestDevicesAreSkippedInAUserNamespace(t *testing.T) {
	requireRoot(t)
	var warned []string
	dir, _, err := unpackNew(t, bytes.NewReader(fstest.Layer(t, fstest.Char("null", 1, 3), fstest.Block("sda", 8, 0), fstest.Fifo("p"))),
		UnpackOptions{UserNS: true, Warn: func(p, _ string) { warned = append(warned, p) }})
	require.NoError(t, err)
	require.Equal(t, []string{"null", "sda"}, warned)
	tree := fstest.FromPath(t, dir.Name())
	require.Contains(t, tree, "p")
	require.Len(t, tree, 2)
}

func TestAUFSPseudoLinksGiveTheirContentAndVanish(t *testing.T) {
	requireRoot(t)
	dir, _, err := unpackNew(t, bytes.NewReader(fstest.Layer(t,
		fstest.File(".wh..wh.aufs", ""), fstest.Dir(".wh..wh.plnk"), fstest.File(".wh..wh.plnk/12.34", "content"),
		fstest.Dir(".wh..wh.orph"), fstest.File(".wh..wh.orph/x", "orphan"),
		fstest.Link("a", ".wh..wh.plnk/12.34"), fstest.Link("b", "/.wh..wh.plnk/12.34"), fstest.Link(".wh.gone", ".wh..wh.aufs"),
	)), UnpackOptions{})
	require.NoError(t, err)
	tree := fstest.FromPath(t, dir.Name())
	require.Equal(t, []string{".", "a", "b"}, tree.Paths())
	require.Equal(t, "content", tree["a"].Body)
	require.Equal(t, "a", tree["b"].Link)
	st, _, err := lstat(int(dir.Fd()), "a")
	require.NoError(t, err)
	require.EqualValues(t, 2, st.Nlink)
}

func TestFewDescriptorsAreEnough(t *testing.T) {
	requireRoot(t)
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	b := newPlainBed(t, t.TempDir())
	entries := []fstest.Entry{}
	for i := range 300 {
		entries = append(entries, fstest.File(fmt.Sprintf("a/b/c/d%d/e/f", i), "x"), fstest.Link(fmt.Sprintf("l%d", i), fmt.Sprintf("a/b/c/d%d/e/f", i/2)))
	}
	layer := fstest.Layer(t, entries...)
	low := old
	low.Cur = 48
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &old) })
	for range 2 { // into an empty tree, and then over itself
		_, err := b.apply(t, layer, UnpackOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	require.Len(t, b.tree(t), 1+3+600+300+300)
}

func TestTheNumberOfWritersDoesNotMatter(t *testing.T) {
	requireRoot(t)
	// Duplicates, replaced types, and links to files that a writer still makes.
	var entries []fstest.Entry
	for i := range 2000 {
		p := fmt.Sprintf("d%d/f%d", i%7, i%50)
		switch i % 11 {
		case 3:
			entries = append(entries, fstest.Symlink(p, "x"))
		case 5:
			entries = append(entries, fstest.Dir(p), fstest.File(p+"/x", fmt.Sprint(i)))
		case 7:
			entries = append(entries, fstest.File(p, fmt.Sprint(i)), fstest.Link(p+"l", p))
		default:
			entries = append(entries, fstest.File(p, strings.Repeat(fmt.Sprint(i), i)))
		}
	}
	layer := fstest.Layer(t, entries...)
	var want fstest.Tree
	for _, n := range []int{1, 2, 9} {
		dir, _, err := unpackNew(t, bytes.NewReader(layer), UnpackOptions{Writers: n})
		require.NoError(t, err)
		got := fstest.FromPath(t, dir.Name())
		got["."] = fstest.Node{}
		if want == nil {
			want = got
		}
		fstest.RequireEqual(t, want, got, fmt.Sprint(n, " writers"))
	}
}

// endAfter is a context that ends after a number of calls of Err.
type endAfter struct {
	context.Context
	left int
}

func (c *endAfter) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// faultyView fails a lookup after a number of lookups.
type faultyView struct {
	diff.View
	left *int
}

var errFault = errors.New("a fault of the disk")

func (v faultyView) Root() (diff.Dir, error) {
	d, err := v.View.Root()
	return faultyDir{d, v.left}, err
}

type faultyDir struct {
	diff.Dir
	left *int
}

func (d faultyDir) Lookup(name string) (diff.Node, error) {
	if *d.left--; *d.left < 0 {
		return diff.Node{}, errFault
	}
	return d.Dir.Lookup(name)
}

func (d faultyDir) OpenDir(name string) (diff.Dir, error) {
	next, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return faultyDir{next, d.left}, nil
}

func rollbackLayers() (base, top []fstest.Entry) {
	base = []fstest.Entry{
		fstest.Dir("."), fstest.Dir("a").WithXattr("user.k", "v").WithMtime(5, 5), fstest.File("a/x", "x"), fstest.Dir("a/s"), fstest.File("a/s/y", "y"),
		fstest.Dir("b"), fstest.File("b/x", "x"), fstest.Symlink("l", "a"), fstest.File("f", "f"), fstest.Dir("o"), fstest.File("o/1", "1"),
		fstest.Dir("m"), fstest.Dir("m/n"), fstest.File("m/n/q", "q"),
	}
	top = []fstest.Entry{
		fstest.Dir(".").WithMode(0o700), fstest.Whiteout("a/x"), fstest.File("a/s/z", "z"), fstest.Dir("a").WithMode(0o711).WithXattr("user.n", "w"),
		fstest.Whiteout("b"), fstest.Dir("b"), fstest.File("b/new", "n"), fstest.Dir("l"), fstest.Dir("f"), fstest.File("f/in", ""),
		fstest.Opaque("o"), fstest.File("o/2", "2"), fstest.Whiteout("m/n/q"), fstest.File("new/deep/er", ""), fstest.File("a/s/y", "Y"),
	}
	return base, top
}

func TestAMergeThatFailsLeavesThePlainTreeAsItWas(t *testing.T) {
	requireRoot(t)
	base, top := rollbackLayers()
	b := newPlainBed(t, t.TempDir())
	_, err := b.apply(t, fstest.Layer(t, base...), UnpackOptions{})
	require.NoError(t, err)
	before := b.tree(t)
	root := open(t, b.root)
	for n := 0; ; n++ {
		d, _, err := Unpack(t.Context(), staging(t, b.base), bytes.NewReader(fstest.Layer(t, top...)), UnpackOptions{Parents: diff.DirView(root)})
		require.NoError(t, err)
		err = d.Merge(&endAfter{t.Context(), n}, Target{Root: root})
		if err == nil {
			require.Greater(t, n, 5, "steps that could fail")
			require.Contains(t, b.tree(t), "o/2")
			return
		}
		require.ErrorIs(t, err, context.Canceled)
		fstest.RequireEqual(t, before, b.tree(t), fmt.Sprint("after a merge that failed at step ", n))
	}
}

func TestAMergeThatFailsLeavesTheUpperDirectoryAsItWas(t *testing.T) {
	requireRoot(t)
	base, top := rollbackLayers()
	dir := fstest.Quick(t)
	lower, upper := newRoot(t, filepath.Join(dir, "lower")), newRoot(t, filepath.Join(dir, "upper"))
	d, _, err := Unpack(t.Context(), staging(t, dir), bytes.NewReader(fstest.Layer(t, base...)), UnpackOptions{Encoding: whiteout.Overlay})
	require.NoError(t, err)
	require.NoError(t, d.Merge(t.Context(), Target{Root: open(t, lower), Encoding: whiteout.Overlay}))
	require.NoError(t, os.MkdirAll(filepath.Join(upper, "a/s"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(upper, "a/s/y"), []byte("upper"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(upper, "o"), 0o755))
	before := fstest.FromPath(t, upper)
	for n := 0; ; n++ {
		left := n
		view := faultyView{diff.DirView(open(t, lower)), &left}
		d, _, err := Unpack(t.Context(), staging(t, dir), bytes.NewReader(fstest.Layer(t, top...)), UnpackOptions{
			Parents: diff.DirView(open(t, lower)), Encoding: whiteout.Overlay,
		})
		require.NoError(t, err)
		err = d.Merge(t.Context(), Target{Root: open(t, upper), Below: view, Encoding: whiteout.Overlay})
		if err == nil {
			require.Greater(t, n, 8, "steps that could fail")
			return
		}
		require.ErrorIs(t, err, errFault)
		fstest.RequireEqual(t, before, fstest.FromPath(t, upper), fmt.Sprint("after a merge that failed at lookup ", n))
	}
}

func TestMergeRefusesAnotherEncoding(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	d, _, err := Unpack(t.Context(), staging(t, dir), bytes.NewReader(nil), UnpackOptions{Encoding: whiteout.Overlay})
	require.NoError(t, err)
	require.Error(t, d.Merge(t.Context(), Target{Root: open(t, newRoot(t, dir+"/root")), Encoding: whiteout.OverlayUser}))
}

// longPath has entries of which the last leads, through symbolic links, to a
// path that no diff could write.
func longPath() []fstest.Entry {
	part := strings.TrimSuffix(strings.Repeat(strings.Repeat("n", 250)+"/", 16), "/")
	var entries []fstest.Entry
	dir := ""
	for range 125 {
		entries = append(entries, fstest.Symlink(dir+"s", part))
		dir += part + "/"
	}
	return append(entries, fstest.File(strings.Repeat("s/", 125)+dir+dir[:125*4*251]+"f", ""))
}
