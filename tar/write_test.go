package tar_test

import (
	stdtar "archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/tar"
)

// changed makes a change of a regular file with the given body.
func changed(path, body string) diff.Change {
	c := diff.Change{Kind: diff.Add, Path: path, Node: diff.Node{
		Mode: diff.TypeRegular | 0o644, Size: int64(len(body)), Mtime: time.Unix(1_000_000_000, 0), Nlink: 1,
	}}
	return c.WithBody(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil })
}

func special(path string, mode uint32) diff.Change {
	c := changed(path, "")
	c.Node.Mode = mode
	return c
}

func sequence(changes ...diff.Change) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func write(t *testing.T, opts tar.WriteOptions, changes ...diff.Change) []byte {
	t.Helper()
	var out bytes.Buffer
	stats, err := tar.Write(t.Context(), &out, sequence(changes...), opts)
	require.NoError(t, err)
	require.EqualValues(t, out.Len(), stats.Bytes)
	return out.Bytes()
}

// listing reads a layer with the standard library.
func listing(t *testing.T, layer []byte) string {
	t.Helper()
	var b strings.Builder
	r := stdtar.NewReader(bytes.NewReader(layer))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		require.NoError(t, err)
		fmt.Fprintf(&b, "%c %q", h.Typeflag, h.Name)
		if h.Linkname != "" {
			fmt.Fprintf(&b, " -> %q", h.Linkname)
		}
		fmt.Fprintf(&b, " %o %d:%d %s size %d dev %d:%d\n", h.Mode, h.Uid, h.Gid,
			h.ModTime.UTC().Format(time.RFC3339Nano), h.Size, h.Devmajor, h.Devminor)
		for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			fmt.Fprintf(&b, "    %s=%q\n", key, h.PAXRecords[key])
		}
		require.Empty(t, h.Uname+h.Gname)
		require.True(t, h.AccessTime.IsZero() && h.ChangeTime.IsZero())
	}
}

// richChanges has every kind of file that a layer can contain.
func richChanges() []diff.Change {
	root := special(".", diff.TypeDir|0o755)
	root.Kind = diff.Modify
	nanos := changed("nanos", "body\n")
	nanos.Node.Mtime = time.Unix(1_600_000_000, 123_456_789)
	before := changed("before-1970", "")
	before.Node.Mtime = time.Unix(-3, 500_000_000)
	ids := changed("ids", "")
	ids.Node.UID, ids.Node.GID = 4_294_967_294, 2_097_152
	suid := changed("suid", "x")
	suid.Node.Mode |= 0o6000
	suid.Xattrs = map[string]string{"user.z": "", "security.capability": "\x01\x00\x00\x02\x00=\n", "user.a": "1"}
	linked := suid
	linked.Path, linked.Hardlink = "suid-too", "suid"
	link := special("link", diff.TypeSymlink|0o777)
	link.Linkname = "../nowhere"
	char, block := special("null", diff.TypeChar|0o666), special("vd", diff.TypeBlock|0o660)
	char.Node.Rdev, block.Node.Rdev = 1<<8|3, 0xfe<<8|0x12|0x345<<20
	long := strings.Repeat("long/", 60) + "name"
	return []diff.Change{
		root,
		{Kind: diff.Delete, Path: "gone"},
		{Kind: diff.Delete, Path: "old\xff"},
		before, special("dir", diff.TypeDir|0o1777),
		{Kind: diff.Delete, Path: "dir/gone"},
		changed("dir/f", strings.Repeat("0123456789abcdef", 100)),
		special("fifo", diff.TypeFifo|0o600), ids, link, changed(long, "x"), nanos, char,
		suid, linked, changed("trailing ", ""), block, changed("ü\xfe\n", ""),
	}
}

// writeGolden is compiled into the test binary, which also runs without the
// sources.
//
//go:embed testdata/write.golden
var writeGolden string

func TestT5TheBytesOfARichChangeSet(t *testing.T) {
	layer := write(t, tar.WriteOptions{}, richChanges()...)
	got := fmt.Sprintf("sha256:%x\n%d bytes\n%s", sha256.Sum256(layer), len(layer), listing(t, layer))
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile("testdata/write.golden", []byte(got), 0o644))
		writeGolden = got
	}
	require.Equal(t, writeGolden, got)
	require.Equal(t, layer, write(t, tar.WriteOptions{}, richChanges()...), "second run")
}

// 0001-01-01 is the zero time.Time of Go. The standard library writes it as
// 1970.
func TestA4TheZeroTimeIsWrittenAsItIs(t *testing.T) {
	zero := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	before := changed("before", strings.Repeat("x", 700))
	plain := changed("zero", strings.Repeat("y", 700))
	plain.Node.Mtime = zero
	// Names and attributes that look like the record of the time.
	odd := changed("20 mtime=-62135596799\n/"+strings.Repeat("n", 100)+"\n20 mtime=-62135596799\n", "z")
	odd.Node.Mtime, odd.Node.UID = zero, 1<<30
	odd.Xattrs = map[string]string{"user.x": "\n20 mtime=-62135596799\n", "user.y": strings.Repeat("v", 1000)}
	second := changed("zero and a second", "")
	second.Node.Mtime = zero.Add(time.Second)
	for _, opts := range []tar.WriteOptions{{}, {MaxTime: time.Unix(0, 0)}} {
		layer := write(t, opts, before, odd, plain, second)
		r := stdtar.NewReader(bytes.NewReader(layer))
		for _, want := range []diff.Change{before, odd, plain, second} {
			h, err := r.Next()
			require.NoError(t, err)
			require.Equal(t, want.Path, h.Name)
			if want.Path != before.Path {
				require.Equal(t, want.Node.Mtime.Unix(), h.ModTime.Unix(), want.Path)
			}
			require.Equal(t, int(want.Node.UID), h.Uid)
			for name, value := range want.Xattrs {
				require.Equal(t, value, h.PAXRecords["SCHILY.xattr."+name])
			}
			body, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Len(t, body, int(want.Node.Size))
		}
	}
}

func TestWriteCountsWhatItWrote(t *testing.T) {
	modified := changed("b", "x")
	modified.Kind = diff.Modify
	var out bytes.Buffer
	stats, err := tar.Write(t.Context(), &out, sequence(diff.Change{Kind: diff.Delete, Path: "a"}, modified, changed("c", ""), changed("d", "")), tar.WriteOptions{})
	require.NoError(t, err)
	require.Equal(t, diff.Stats{Added: 2, Modified: 1, Deleted: 1, Bytes: int64(out.Len())}, stats)
}

func TestT2NoChangeIsTheEmptyArchive(t *testing.T) {
	require.Equal(t, make([]byte, 1024), write(t, tar.WriteOptions{}))
}

func TestT1PAXRecordsAreWrittenOnlyWhereNeeded(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*diff.Change)
		records []string
	}{
		{"an everyday file", func(*diff.Change) {}, nil},
		{"a time of whole seconds", func(c *diff.Change) { c.Node.Mtime = time.Unix(1<<33-1, 0) }, nil},
		{"a time beyond ustar", func(c *diff.Change) { c.Node.Mtime = time.Unix(1<<33, 0) }, []string{"mtime"}},
		{"nanoseconds", func(c *diff.Change) { c.Node.Mtime = time.Unix(1, 1) }, []string{"mtime"}},
		{"a time before 1970", func(c *diff.Change) { c.Node.Mtime = time.Unix(-1, 0) }, []string{"mtime"}},
		{"ids up to ustar's", func(c *diff.Change) { c.Node.UID, c.Node.GID = 1<<21-1, 1<<21-1 }, nil},
		{"a large uid", func(c *diff.Change) { c.Node.UID = 1 << 21 }, []string{"uid"}},
		{"a large gid", func(c *diff.Change) { c.Node.GID = 1<<32 - 2 }, []string{"gid"}},
		{"a name of 100 bytes", func(c *diff.Change) { c.Path = strings.Repeat("n", 100) }, nil},
		{"a path that splits", func(c *diff.Change) { c.Path = strings.Repeat("n", 90) + "/" + strings.Repeat("m", 90) }, nil},
		{"a long name", func(c *diff.Change) { c.Path = strings.Repeat("n", 101) }, []string{"path"}},
		{"a name that is no ASCII", func(c *diff.Change) { c.Path = "ü" }, []string{"path"}},
		{"a name that is no UTF-8", func(c *diff.Change) { c.Path = "\xff" }, []string{"path"}},
		{"a long target", func(c *diff.Change) {
			c.Node.Mode, c.Node.Size, c.Linkname = diff.TypeSymlink|0o777, 0, strings.Repeat("n", 101)
		}, []string{"linkpath"}},
		{"an xattr", func(c *diff.Change) { c.Xattrs = map[string]string{"user.x": ""} }, []string{"SCHILY.xattr.user.x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			change := changed("f", "x")
			c.change(&change)
			layer := write(t, tar.WriteOptions{}, change)
			h, err := stdtar.NewReader(bytes.NewReader(layer)).Next()
			require.NoError(t, err)
			require.Equal(t, c.records, slices.Sorted(maps.Keys(h.PAXRecords)))
			require.Equal(t, change.Path, h.Name)
			require.Equal(t, change.Linkname, h.Linkname)
			require.True(t, change.Node.Mtime.Equal(h.ModTime), "%v", h.ModTime)
			require.Equal(t, len(c.records) > 0, layer[156] == stdtar.TypeXHeader)
		})
	}
}

func TestMaxTimeIsTheLatestTime(t *testing.T) {
	limit := time.Unix(1_000_000_005, 0)
	early, exact, late := changed("early", ""), changed("exact", ""), changed("late", "")
	exact.Node.Mtime = time.Unix(1_000_000_005, 0)
	late.Node.Mtime = time.Unix(1_000_000_005, 1)
	r := stdtar.NewReader(bytes.NewReader(write(t, tar.WriteOptions{MaxTime: limit}, diff.Change{Kind: diff.Delete, Path: "gone"}, early, exact, late)))
	for _, want := range []int64{0, 1_000_000_000, 1_000_000_005, 1_000_000_005} {
		h, err := r.Next()
		require.NoError(t, err)
		require.True(t, time.Unix(want, 0).Equal(h.ModTime), "%s: %v", h.Name, h.ModTime)
	}
}

func TestAFileThatChangesLengthWhileItIsReadIsAnErrorThatNamesIt(t *testing.T) {
	body := func(r io.Reader) diff.Change {
		c := changed("dir/file", strings.Repeat("x", 300_000))
		return c.WithBody(func() (io.ReadCloser, error) { return io.NopCloser(r), nil })
	}
	for name, c := range map[string]struct {
		body io.Reader
		want string
	}{
		"shrunk":       {strings.NewReader("short"), "shrank"},
		"grown":        {strings.NewReader(strings.Repeat("x", 300_001)), "grew"},
		"endless":      {neverEnds{}, "grew"},
		"unreadable":   {iotest.ErrReader(errors.New("bad sector")), "bad sector"},
		"data and EOF": {iotest.DataErrReader(strings.NewReader("short")), "shrank"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tar.Write(t.Context(), io.Discard, sequence(body(c.body)), tar.WriteOptions{})
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "dir/file")
		})
	}
	_, err := tar.Write(t.Context(), io.Discard, sequence(body(iotest.DataErrReader(strings.NewReader(strings.Repeat("x", 300_000))))), tar.WriteOptions{})
	require.NoError(t, err)
	_, err = tar.Write(t.Context(), io.Discard, sequence(body(iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 300_000))))), tar.WriteOptions{})
	require.NoError(t, err)
}

type neverEnds struct{}

func (neverEnds) Read(p []byte) (int, error) { return len(p), nil }

func TestWriteRefusesWhatALayerCannotSay(t *testing.T) {
	noUID, noGID := changed("f", ""), changed("f", "")
	noUID.Node.UID, noGID.Node.GID = 1<<32-1, 1<<32-1
	out := changed("f", "")
	out.Hardlink = "../f"
	for name, c := range map[string]diff.Change{
		"a marker's name":        changed(".wh.x", ""),
		"below a marker's name":  changed("d/.wh.x/f", ""),
		"deletion of a marker":   {Kind: diff.Delete, Path: "d/.wh.x"},
		"deletion of the root":   {Kind: diff.Delete, Path: "."},
		"an empty path":          changed("", ""),
		"an absolute path":       changed("/f", ""),
		"a path that leaves":     changed("../f", ""),
		"an unclean path":        changed("d/../../f", ""),
		"a hard link that leave": out,
		"a socket":               special("s", diff.TypeSocket|0o755),
		"the whiteout device":    special("w", diff.TypeChar),
		"no type":                special("n", 0o644),
		"a name with NUL":        changed("a\x00b", ""),
		"an uid that is none":    noUID,
		"a gid that is none":     noGID,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tar.Write(t.Context(), io.Discard, sequence(c), tar.WriteOptions{})
			require.Error(t, err)
			require.ErrorContains(t, err, c.Path)
		})
	}
}

func TestAPathThatIsTooLongForALayerIsOneThatNoLayerCanHold(t *testing.T) {
	for size, want := range map[int]error{tar.MaxPath: nil, tar.MaxPath + 1: diff.ErrNotCarried} {
		path := strings.Repeat("d/", (size-1)/2) + strings.Repeat("f", 1+(size-1)%2)
		require.Len(t, path, size)
		require.ErrorIs(t, tar.Check(t.Context(), sequence(changed(path, ""))), want)
	}
}

func TestAnXattrWithAnEqualsSignIsLeftOutWithAWarning(t *testing.T) {
	c := changed("f", "")
	c.Xattrs = map[string]string{"user.a=b": "1", "user.c": "2"}
	var warned []string
	layer := write(t, tar.WriteOptions{Warn: func(path, message string) { warned = append(warned, path+": "+message) }}, c)
	h, err := stdtar.NewReader(bytes.NewReader(layer)).Next()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"SCHILY.xattr.user.c": "2"}, h.PAXRecords)
	require.Len(t, warned, 1)
	require.Contains(t, warned[0], "user.a=b")
}

func TestWriteStopsOnErrors(t *testing.T) {
	broken := errors.New("broken")
	failing := func(yield func(diff.Change, error) bool) {
		if yield(changed("f", "x"), nil) {
			yield(diff.Change{}, broken)
		}
	}
	_, err := tar.Write(t.Context(), io.Discard, failing, tar.WriteOptions{})
	require.ErrorIs(t, err, broken)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tar.Write(ctx, io.Discard, sequence(changed("f", "x")), tar.WriteOptions{})
	require.ErrorIs(t, err, context.Canceled)

	_, err = tar.Write(t.Context(), brokenWriter{broken}, sequence(changed("f", strings.Repeat("x", 1<<20))), tar.WriteOptions{})
	require.ErrorIs(t, err, broken)
	_, err = tar.Write(t.Context(), brokenWriter{broken}, sequence(), tar.WriteOptions{})
	require.ErrorIs(t, err, broken, "a small layer is only flushed at the end")
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }
