package tar

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestADamagedStreamIsAnErrorAndNoFinding(t *testing.T) {
	requireRoot(t)
	parents, merged, stream, _ := verified(t, faultBase, faultLayer)
	for _, readData := range []bool{false, true} {
		opts := VerifyOptions{ReadData: readData}
		for _, n := range []int{1, 511, 512, 1100, 1536, 2100, len(stream) / 2} {
			v, err := Verify(t.Context(), bytes.NewReader(stream[:n]), parents, merged, opts)
			require.ErrorIs(t, err, diff.ErrInvalidLayer, n)
			require.Empty(t, v)
		}
		wrong := bytes.Clone(stream)
		wrong[150] ^= 1 // in the checksum of the first header
		_, err := Verify(t.Context(), bytes.NewReader(wrong), parents, merged, opts)
		require.ErrorIs(t, err, diff.ErrInvalidLayer)

		opts.DiffID = digest.FromBytes(wrong)
		_, err = Verify(t.Context(), bytes.NewReader(stream), parents, merged, opts)
		require.ErrorIs(t, err, ErrDigest)
		opts.DiffID = digest.FromBytes(stream)
		v, err := Verify(t.Context(), bytes.NewReader(stream), parents, merged, opts)
		require.NoError(t, err)
		require.Equal(t, opts.DiffID, v.DiffID)
		require.Equal(t, int64(len(stream)), v.Bytes)
		require.Equal(t, int64(len(faultLayer)), v.Entries)
	}
}

// A stream that Unpack refuses is refused by Verify too. Otherwise the files
// that the end of the stream lacks are findings.
func TestVerifyRefusesTheStreamsThatUnpackRefuses(t *testing.T) {
	requireRoot(t)
	for name, layer := range map[string][]fstest.Entry{
		"in turn": faultLayer, "ahead": append([]fstest.Entry{fstest.File("s/first", "x")}, faultLayer...),
	} {
		t.Run(name, func(t *testing.T) {
			parents, merged, stream, _ := verified(t, faultBase, layer)
			refused := 0
			for n := 0; n < len(stream)-1024; n += 300 + n/20 {
				_, _, want := Unpack(t.Context(), staging(t, t.TempDir()), bytes.NewReader(stream[:n]), UnpackOptions{Parents: parents})
				for _, readData := range []bool{false, true} {
					v, err := Verify(t.Context(), bytes.NewReader(stream[:n]), parents, merged, VerifyOptions{ReadData: readData})
					if want == nil {
						require.NoError(t, err)
						require.False(t, v.OK(), n)
						continue
					}
					refused++
					require.ErrorIs(t, err, diff.ErrInvalidLayer)
					require.Equal(t, want.Error(), err.Error())
				}
			}
			require.Greater(t, refused, 30)
		})
	}
}

func TestVerifyKeepsToTheLimits(t *testing.T) {
	requireRoot(t)
	var many []fstest.Entry
	for i := range 100 {
		many = append(many, fstest.File(fmt.Sprintf("d%d/f", i), "x"))
	}
	for name, first := range map[string][]fstest.Entry{"in turn": nil, "ahead": {fstest.File("s/x", "x")}} {
		t.Run(name, func(t *testing.T) {
			parents, merged, stream, _ := verified(t, faultBase, append(first, many...))
			for _, limits := range []Limits{{Entries: 150}, {Bytes: 10_000}, {PathDepth: 1}} {
				_, _, want := Unpack(t.Context(), staging(t, t.TempDir()), bytes.NewReader(stream), UnpackOptions{Parents: parents, Limits: limits})
				require.Error(t, want)
				_, err := Verify(t.Context(), bytes.NewReader(stream), parents, merged, VerifyOptions{Limits: limits})
				require.ErrorIs(t, err, diff.ErrInvalidLayer)
				require.Equal(t, reason(want), reason(err))
			}
			requireVerified(t, stream, parents, merged, VerifyOptions{Limits: Limits{Entries: 203, PathDepth: 2}})
		})
	}
}

// reason returns an error without the place, because the stream may have been
// read ahead of it.
func reason(err error) string {
	_, why, _ := strings.Cut(err.Error(), diff.ErrInvalidLayer.Error())
	return why
}

func TestFindingsBeyondTheLimitAreCounted(t *testing.T) {
	requireRoot(t)
	var many []fstest.Entry
	for i := range 100 {
		many = append(many, fstest.File(fmt.Sprintf("f%03d", i), "x"))
	}
	_, _, stream, _ := verified(t, nil, many)
	_, empty, _, _ := verified(t, nil, nil)
	v, err := Verify(t.Context(), bytes.NewReader(stream), nil, empty, VerifyOptions{MaxFindings: 7})
	require.NoError(t, err)
	require.Len(t, v.Findings, 7)
	require.Equal(t, int64(100), v.Total)
	require.False(t, v.OK())
	require.Equal(t, "/f000: is missing; the tar: regular file", v.Findings[0].String())
}

// A change of a parent layer gives no finding for the layers above it, if these
// have no copy of it.
func TestVerifyDoesNotBlameALayerForAnother(t *testing.T) {
	requireRoot(t)
	lower := newOverlayBed(t, fstest.Quick(t))
	_, layer := damagedStack(t, lower, damagedLayer())
	require.NoError(t, os.WriteFile(filepath.Join(lower.layers[0], "etc/kept"), []byte("KEPT"), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(lower.layers[0], "etc/old"), 0o600))
	require.NoError(t, damageName("opaque/a", os.Remove)(lower.layers[0]))
	requireVerified(t, layer, lower.before(t), lower.merged(t), VerifyOptions{ReadData: true})
}

// A difference that the file system or the kernel makes is not damage.
func TestVerifyBearsWhatCannotBeKept(t *testing.T) {
	requireRoot(t)
	const user = "\x02\x00\x00\x00"
	acl := user + "\x01\x00\x00\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\x05\x00\x00\x00" +
		"\x04\x00\x05\x00\xff\xff\xff\xff" + "\x10\x00\x01\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	layer := []fstest.Entry{
		fstest.File("old", "x").WithMtime(-1<<40, 5), fstest.File("late", "x").WithMtime(1<<40, 7), fstest.File("year1", "x"),
		fstest.File("acl", "x").WithMode(0o751).WithXattr(accessACL, acl), fstest.Symlink("sl", "x").WithXattr("user.a", "b"),
		fstest.Char("null", 1, 3).WithXattr("user.a", "b"), fstest.Dir("d").WithXattr(defaultACL, acl),
	}
	layer[2].Mtime = time.Time{}
	for _, fs := range []fstest.FS{fstest.Tmpfs, fstest.Ext4} {
		t.Run(string(fs), func(t *testing.T) {
			b := newPlainBed(t, fstest.Scratch(t, fs))
			stream := fstest.Layer(t, layer...)
			_, err := b.apply(t, stream, UnpackOptions{})
			require.NoError(t, err)
			for name, mode := range map[string]uint32{"socket": unix.S_IFSOCK, "whiteout": unix.S_IFCHR} {
				require.NoError(t, damageName(name, func(p string) error { return unix.Mknod(p, mode|0o600, 0) })(b.root))
			}
			requireVerified(t, stream, nil, b.merged(t), VerifyOptions{ReadData: true})
			require.NoError(t, os.Chtimes(filepath.Join(b.root, "late"), time.Time{}, time.Unix(1<<31, 0)))
			v, err := Verify(t.Context(), bytes.NewReader(stream), nil, b.merged(t), VerifyOptions{})
			require.NoError(t, err)
			require.Len(t, v.Findings, 1)
			require.True(t, strings.HasPrefix(v.Findings[0].String(), "/late: mtime is 2038-01-19T03:14:08Z"), v.Findings[0].String())
		})
	}
}
