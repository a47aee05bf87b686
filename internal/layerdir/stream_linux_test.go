package layerdir

import (
	stdtar "archive/tar"
	"bytes"
	"errors"
	"io"
	"iter"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

// dirChanged are the changes of a layer with one directory, after one warning.
func dirChanged(mtime time.Time) func(warn func(path, message string)) iter.Seq2[diff.Change, error] {
	return func(warn func(path, message string)) iter.Seq2[diff.Change, error] {
		return func(yield func(diff.Change, error) bool) {
			warn("d", "odd")
			yield(diff.Change{Path: "d", Kind: diff.Add, Node: diff.Node{Mode: unix.S_IFDIR | 0o755, Mtime: mtime}}, nil)
		}
	}
}

func mtimeOf(t *testing.T, layer []byte) time.Time {
	t.Helper()
	hdr, err := stdtar.NewReader(bytes.NewReader(layer)).Next()
	require.NoError(t, err)
	return hdr.ModTime
}

func TestTimesOfALayerEndWhereItIsSaid(t *testing.T) {
	made, latest := time.Unix(2e9, 0), time.Unix(1e9, 0)
	for name, c := range map[string]struct {
		epoch string
		max   time.Time
		want  time.Time
	}{
		"nothing said":           {"", time.Time{}, made},
		"the caller says":        {"", latest, latest},
		"the environment says":   {"500000000", time.Time{}, time.Unix(5e8, 0)},
		"both, the caller first": {"500000000", latest, latest},
	} {
		t.Setenv("SOURCE_DATE_EPOCH", c.epoch)
		if c.epoch == "" {
			require.NoError(t, os.Unsetenv("SOURCE_DATE_EPOCH"))
		}
		var buf bytes.Buffer
		_, err := WriteDiff(t.Context(), "a", nil, &buf, driver.DiffOptions{MaxTime: c.max}, dirChanged(made))
		require.NoError(t, err, name)
		require.True(t, c.want.Equal(mtimeOf(t, buf.Bytes())), name)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "soon")
	_, err := WriteDiff(t.Context(), "a", nil, io.Discard, driver.DiffOptions{}, dirChanged(made))
	require.Error(t, err)
}

func TestAWarningOfALayerGoesToItsCallerOrTheLog(t *testing.T) {
	var log bytes.Buffer
	var said []string
	opts := driver.DiffOptions{Warn: func(path, message string) { said = append(said, path+": "+message) }}
	logger := slog.New(slog.NewTextHandler(&log, nil))
	_, err := WriteDiff(t.Context(), "a", logger, io.Discard, opts, dirChanged(time.Unix(1, 0)))
	require.NoError(t, err)
	require.Equal(t, []string{"d: odd"}, said)
	require.Empty(t, log.String())
	_, err = WriteDiff(t.Context(), "a", logger, io.Discard, driver.DiffOptions{}, dirChanged(time.Unix(1, 0)))
	require.NoError(t, err)
	require.Contains(t, log.String(), "msg=odd layer=a path=d")
	_, err = WriteDiff(t.Context(), "a", nil, io.Discard, driver.DiffOptions{}, dirChanged(time.Unix(1, 0)))
	require.NoError(t, err, "nobody wants to know")
}

func TestOptionsOfAnApplyReachTheUnpacker(t *testing.T) {
	of := driver.Options{Fallbacks: driver.Fallbacks{NoOpenat2: true, SingleThread: true}, Limits: driver.Limits{Entries: 7, Bytes: 8}}
	got := UnpackOptions(of, driver.ApplyOptions{Detached: true, DiffID: "sha256:x", Limits: driver.Limits{Entries: 5}}, "a", whiteout.Overlay, true)
	require.Equal(t, 1, got.Writers)
	require.Equal(t, tar.Limits(of.Limits).Bytes, got.Limits.Bytes)
	require.Equal(t, int64(5), int64(got.Limits.Entries))
	require.True(t, got.Detached && got.UserNS && got.NoOpenat2)
	require.False(t, got.NoFchmodat2)
	require.Equal(t, "sha256:x", string(got.DiffID))
	require.Equal(t, whiteout.Overlay, got.Encoding)
	got = UnpackOptions(driver.Options{Fallbacks: driver.Fallbacks{NoFchmodat2: true}}, driver.ApplyOptions{}, "a", whiteout.OverlayUser, false)
	require.Zero(t, got.Writers)
	require.True(t, got.NoFchmodat2)
	require.False(t, got.Detached || got.UserNS || got.NoOpenat2)
	require.Equal(t, rootfd.Options{NoOpenat2: true}, ReadOptions(driver.Fallbacks{NoOpenat2: true}))
	require.Equal(t, rootfd.Options{NoXattrat: true}, ReadOptions(driver.Fallbacks{NoXattrat: true}))
}

func TestErrorsOfTarMatchThoseOfTheContract(t *testing.T) {
	for _, pair := range [][2]error{{tar.ErrDigest, driver.ErrDigest}, {tar.ErrNeedsParents, driver.ErrNeedsParents}, {tar.ErrTorn, driver.ErrTorn}, {tar.ErrLongName, driver.ErrUnsupported}, {tar.ErrOwnXattr, driver.ErrUnsupported}} {
		err := TarError(pair[0])
		require.ErrorIs(t, err, pair[0])
		require.ErrorIs(t, err, pair[1])
		require.ErrorContains(t, err, pair[0].Error())
	}
	other := errors.New("other")
	require.Equal(t, other, TarError(other))
	require.NoError(t, TarError(nil))
}
