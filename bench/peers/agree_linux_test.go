package peers

import (
	"bytes"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestAPlainLayerGivesTheTreeThatContainerdGives(t *testing.T) {
	content, err := mixedFiles(2_000)
	require.NoError(t, err)
	dir := fstest.Scratch(t, fstest.Tmpfs)
	theirs := t.TempDir()
	_, err = archive.Apply(t.Context(), theirs, bytes.NewReader(content))
	require.NoError(t, err)

	d, root := newDriver(t, dir)
	defer closeDriver(t, d, root)
	require.NoError(t, d.Create(t.Context(), "1", nil, driver.CreateOptions{}))
	applied, err := d.ApplyDiff(t.Context(), "1", bytes.NewReader(content), driver.ApplyOptions{})
	require.NoError(t, err)
	require.Equal(t, digest.FromBytes(content), applied.DiffID)
	view, err := d.View(t.Context(), "1")
	require.NoError(t, err)
	defer view.Close()

	want := fstest.FromPath(t, theirs)
	got := fstest.FromView(t, view)
	want["."] = got["."] // no entry describes the root: theirs is this test's directory
	fstest.RequireEqual(t, want, got, "layer applied by overlay2")
}
