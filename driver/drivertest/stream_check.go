package drivertest

import (
	stdtar "archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// requireStream fails unless a stream written by Diff says exactly the changes,
// in the canonical form.
func requireStream(tb testing.TB, changes []model.Change, stream []byte) {
	tb.Helper()
	r := stdtar.NewReader(bytes.NewReader(stream))
	for _, want := range model.Entries(changes) {
		h, err := r.Next()
		require.NoError(tb, err, "the stream ends before %s", want.Name)
		body, err := io.ReadAll(r)
		require.NoError(tb, err)
		requireHeader(tb, want, h, string(body))
	}
	h, err := r.Next()
	if !errors.Is(err, io.EOF) {
		require.NoError(tb, err)
		require.Fail(tb, "one entry too many in the stream", "%+v", h)
	}
}

func requireHeader(tb testing.TB, want fstest.Entry, h *stdtar.Header, body string) {
	tb.Helper()
	name := want.Name
	require.Equal(tb, name, h.Name)
	require.Equal(tb, string(want.Type), string(h.Typeflag), "type of %s", name)
	require.Empty(tb, h.Uname+h.Gname, "user names of %s", name)
	require.True(tb, h.AccessTime.IsZero() && h.ChangeTime.IsZero(), "atime and ctime of %s", name)
	require.Equal(tb, want.Target, h.Linkname, "link target of %s", name)
	if want.Type == stdtar.TypeLink {
		require.Zero(tb, h.Size, "size of the hard link %s", name)
		// Appliers that heed the rest of the header do no harm when it says what
		// the shared inode has already (M3); canonical.txt records it.
		return
	}
	require.Equal(tb, want.Body, body, "body of %s", name)
	require.Equal(tb, want.Mode, h.Mode, "mode of %s", name)
	require.Equal(tb, []int{want.UID, want.GID}, []int{h.Uid, h.Gid}, "owner of %s", name)
	require.True(tb, want.Mtime.Equal(h.ModTime), "mtime of %s: want %v, got %v", name, want.Mtime.UTC(), h.ModTime.UTC())
	require.Equal(tb, []int64{want.Major, want.Minor}, []int64{h.Devmajor, h.Devminor}, "device of %s", name)
	xattrs := want.Xattrs
	if xattrs == nil {
		xattrs = map[string]string{}
	}
	require.Equal(tb, xattrs, xattrsOf(h), "xattrs of %s", name)
	if needsNoPAX(want) {
		require.Empty(tb, h.PAXRecords, "PAX records of %s", name)
	}
}

// needsNoPAX reports whether a plain header holds all of the entry.
func needsNoPAX(e fstest.Entry) bool {
	const octal7, octal11 = 1<<21 - 1, 1<<33 - 1
	ascii := strings.IndexFunc(e.Name+e.Target, func(r rune) bool { return r > 126 }) < 0
	return ascii && len(e.Name) < 100 && len(e.Target) < 100 && len(e.Xattrs) == 0 && e.UID <= octal7 && e.GID <= octal7 &&
		e.Mtime.Equal(e.Mtime.Truncate(time.Second)) && e.Mtime.Unix() >= 0 && e.Mtime.Unix() <= octal11
}

func xattrsOf(h *stdtar.Header) map[string]string {
	xattrs := map[string]string{}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			xattrs[name] = value
		}
	}
	return xattrs
}
