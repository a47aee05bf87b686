package drivertest

import (
	stdtar "archive/tar"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// canonicalListing is the canonical form of the diff below, header by header,
// and its digest. It was reviewed by hand; a change of it changes the diffIDs
// of all layers that are exported, so it must never change by accident.
//
//go:embed testdata/canonical.txt
var canonicalListing string

// canonicalUnprivileged is the same of what an unprivileged process can make.
//
//go:embed testdata/canonical-unprivileged.txt
var canonicalUnprivileged string

func canonicalBase() []Entry {
	return []Entry{
		Dir("etc"), File("etc/motd", "hello\n"), File("etc/removed", ""), Dir("opt"), File("opt/a", "a"), Dir("opt/sub"),
		File("opt/sub/b", "b"), File("linked", "l"), Dir("var"),
	}
}

func canonicalLayer() []Entry {
	return []Entry{
		Dir("var").WithMode(0o1777).WithMtime(1_600_000_000, 0), Whiteout("etc/removed"), File("etc/motd", "hello again\n").WithMtime(1_600_000_000, 5),
		Opaque("opt"), File("opt/new", "n").WithMtime(12, 0), Link("a-second-name", "linked"), Symlink("etc/link", "../var").WithMtime(13, 0),
		Fifo("p").WithMtime(14, 0), File("z", strings.Repeat("z", 1000)).WithXattr("user.b", "2").WithXattr("user.a", "\x001\n"),
		File("ü/"+strings.Repeat("long", 30), "x").WithMtime(-3, 500_000_000),
	}
}

func canonicalPrivileged() []Entry {
	return []Entry{
		Dir("dev").WithMtime(15, 0), Char("dev/null", 1, 3).WithMode(0o666).WithMtime(16, 0), Block("dev/loop", 7, 300).WithMtime(17, 0),
		File("owned", "o").WithOwner(highID, 1<<21).WithMtime(18, 0), File("suid", "s").WithMode(0o4755).WithOwner(5, 6).WithMtime(19, 0),
	}
}

const highID = 1<<32 - 2

// testCanonical compares the bytes of a diff with the recorded ones.
func (s *suite) testCanonical(t *testing.T) {
	st := s.open(t)
	layer, want, file := canonicalLayer(), canonicalUnprivileged, "testdata/canonical-unprivileged.txt"
	if s.can.owners {
		layer, want, file = append(layer, canonicalPrivileged()...), canonicalListing, "testdata/canonical.txt"
	}
	chain := st.layer("base", nil, canonicalBase()...)
	st.layer("a", chain, layer...)
	stream := st.diff("a")
	got := listing(t, stream)
	if path := os.Getenv("LAYERKEEP_RECORD"); path != "" {
		require.NoError(t, os.WriteFile(path+"/"+file, []byte(got), 0o644))
	}
	require.Equal(t, want, got)
}

// listing says a stream header by header.
func listing(tb testing.TB, stream []byte) string {
	tb.Helper()
	s, err := list(stream)
	require.NoError(tb, err)
	return s
}

func list(stream []byte) (string, error) {
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n%d bytes\n", digest.FromBytes(stream), len(stream))
	r := stdtar.NewReader(bytes.NewReader(stream))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return s.String(), nil
		}
		if err != nil {
			return s.String(), err
		}
		fmt.Fprintf(&s, "%c %q -> %q mode %o owner %d:%d size %d mtime %d.%09d dev %d:%d format %v\n", h.Typeflag, h.Name, h.Linkname,
			h.Mode, h.Uid, h.Gid, h.Size, h.ModTime.Unix(), h.ModTime.Nanosecond(), h.Devmajor, h.Devminor, h.Format)
		for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			fmt.Fprintf(&s, "    %s=%q\n", k, h.PAXRecords[k])
		}
	}
}
