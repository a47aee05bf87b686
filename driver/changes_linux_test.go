package driver_test

import (
	stdtar "archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	"github.com/layerkeep/layerkeep/driver"
)

// A layer is a driver with one layer: what is in a directory, over nothing.
type layer struct {
	driver.Driver
	dir    string
	view   bool
	err    error
	opened int
}

func (*layer) Name() string { return "one" }

func (l *layer) Sides(context.Context, driver.ID) (parents, layer diff.View, err error) {
	if l.err != nil || l.view {
		return nil, nil, l.err
	}
	dir, err := os.Open(l.dir)
	if err != nil {
		return nil, nil, err
	}
	l.opened++
	return nil, &closing{diff.DirView(dir), dir, l}, nil
}

type closing struct {
	diff.View
	dir *os.File
	l   *layer
}

func (c *closing) Close() error {
	c.l.opened--
	return errors.Join(c.View.Close(), c.dir.Close())
}

// newLayer has a directory "d" of that time, and a socket, which no layer can
// hold.
func newLayer(t *testing.T, mtime time.Time) *layer {
	t.Helper()
	l := &layer{dir: t.TempDir()}
	require.NoError(t, os.Mkdir(filepath.Join(l.dir, "d"), 0o755))
	require.NoError(t, os.Chtimes(filepath.Join(l.dir, "d"), mtime, mtime))
	require.NoError(t, unix.Mknod(filepath.Join(l.dir, "s"), unix.S_IFSOCK|0o600, 0))
	return l
}

func mtimeOf(t *testing.T, layer []byte, name string) time.Time {
	t.Helper()
	for r := stdtar.NewReader(bytes.NewReader(layer)); ; {
		hdr, err := r.Next()
		require.NoError(t, err)
		if hdr.Name == name {
			return hdr.ModTime
		}
	}
}

func TestTimesOfALayerEndWhereItIsSaid(t *testing.T) {
	made, latest := time.Unix(2e9, 0), time.Unix(1e9, 0)
	d := newLayer(t, made)
	for name, c := range map[string]struct {
		epoch string
		max   time.Time
		want  time.Time
	}{
		"nothing said":            {"", time.Time{}, made},
		"the caller says":         {"", latest, latest},
		"the environment says":    {"500000000", time.Time{}, made}, // which is the caller's business
		"both, the caller counts": {"500000000", latest, latest},
	} {
		t.Setenv("SOURCE_DATE_EPOCH", c.epoch)
		if c.epoch == "" {
			require.NoError(t, os.Unsetenv("SOURCE_DATE_EPOCH"))
		}
		var buf bytes.Buffer
		_, err := driver.Diff(t.Context(), d, "a", &buf, driver.DiffOptions{MaxTime: c.max})
		require.NoError(t, err, name)
		require.True(t, c.want.Equal(mtimeOf(t, buf.Bytes(), "d/")), name)
	}
}

func TestAWarningOfALayerGoesToItsCaller(t *testing.T) {
	d := newLayer(t, time.Unix(1, 0))
	var said []string
	opts := driver.DiffOptions{Warn: func(path, message string) { said = append(said, path+": "+message) }}
	_, err := driver.Diff(t.Context(), d, "a", io.Discard, opts)
	require.NoError(t, err)
	require.Equal(t, []string{"s: a socket cannot be in a layer; left out"}, said)
	_, err = driver.Diff(t.Context(), d, "a", io.Discard, driver.DiffOptions{})
	require.NoError(t, err, "nobody wants to know")
}

func TestAViewChangesNothing(t *testing.T) {
	changes, err := difftest.Collect(driver.Changes(t.Context(), &layer{view: true}, "a", nil))
	require.NoError(t, err)
	require.Empty(t, changes)
	stats, err := driver.Diff(t.Context(), &layer{view: true}, "a", io.Discard, driver.DiffOptions{})
	require.NoError(t, err)
	require.Zero(t, stats.Added)
}

func TestErrorsNameTheLayerOnceAndSidesAreClosed(t *testing.T) {
	boom := errors.New("boom")
	failing := &layer{err: boom}
	_, err := driver.Diff(t.Context(), failing, "a", io.Discard, driver.DiffOptions{})
	require.ErrorIs(t, err, boom)
	require.EqualError(t, err, "boom", "the driver has said which layer it is")

	d := newLayer(t, time.Unix(1, 0))
	_, err = driver.Diff(t.Context(), d, "a", broken{boom}, driver.DiffOptions{})
	require.EqualError(t, err, "one: write the changes of layer a: boom")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = difftest.Collect(driver.Changes(ctx, d, "a", nil))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "one: compare layer a with its parents: ")
	for range driver.Changes(t.Context(), d, "a", nil) {
		break
	}
	require.Zero(t, d.opened)
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }
