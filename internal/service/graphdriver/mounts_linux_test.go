package graphdriver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

func TestALayerIsMountedUntilTheLastPut(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.do("CreateReadWrite", request{ID: "l"})
	dir := p.do("Get", request{ID: "l"}).Dir
	require.Equal(t, dir, p.do("Get", request{ID: "l"}).Dir)
	write(t, dir, "f", "1")
	p.do("Put", request{ID: "l"})
	require.FileExists(t, filepath.Join(dir, "f"))
	p.do("Put", request{ID: "l"})
	require.NoDirExists(t, dir)
	p.do("Put", request{ID: "l"}) // one too many
	p.do("Put", request{ID: "missing"})
	require.Empty(t, p.mountedIDs())
}

func TestMountsAreFoundAgainAfterARestart(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.do("CreateReadWrite", request{ID: "l"})
	dir := p.do("Get", request{ID: "l"}).Dir
	write(t, dir, "f", "1")
	for _, id := range []string{"empty", "gone"} {
		require.NoError(t, os.Mkdir(filepath.Join(p.mounts, testName, id), 0o700))
	}
	gone := filepath.Join(p.mounts, testName, "gone")
	require.NoError(t, mount.All(t.Context(), []mount.Mount{{Type: "bind", Source: t.TempDir()}}, gone))
	p.restart()
	require.Equal(t, []string{"l"}, p.mountedIDs(), "the mount of a layer that is gone is unmounted")
	require.NoDirExists(t, filepath.Join(p.mounts, testName, "empty"))

	require.Equal(t, dir, p.do("Get", request{ID: "l"}).Dir)
	p.do("Put", request{ID: "l"})
	require.FileExists(t, filepath.Join(dir, "f"), "its container still runs")
	p.do("Put", request{ID: "l"})
	require.Empty(t, p.mountedIDs())
}

func TestAnEngineThatStartsAnewHasOneUserOfEveryMount(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.do("CreateReadWrite", request{ID: "l"})
	for range 3 {
		p.do("Get", request{ID: "l"})
	}
	require.Empty(t, p.call("GraphDriver.Init", initRequest{Home: "/var/lib/docker"}).Err)
	p.do("Put", request{ID: "l"})
	require.Empty(t, p.mountedIDs())
}

func TestCleanupUnmountsEverything(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, p *plugin) {
		p.image("base", "", fstest.File("f", "1"))
		p.do("Get", request{ID: "base"})
		p.do("Get", request{ID: "base"})
		p.image("child", "base", fstest.File("g", "1"))
		p.do("Get", request{ID: "child"})
		require.Equal(t, []string{"base", "child"}, p.mountedIDs())
		p.do("Cleanup", request{})
		require.Empty(t, p.mountedIDs())
		points, err := os.ReadDir(filepath.Join(p.mounts, testName))
		require.NoError(t, err)
		require.Empty(t, points)
	})
}

func TestABusyMountIsAnErrorAndCanBeUnmountedLater(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.do("CreateReadWrite", request{ID: "l"})
	dir := p.do("Get", request{ID: "l"}).Dir
	f, err := os.Create(filepath.Join(dir, "f"))
	require.NoError(t, err)
	defer f.Close()
	p.refused("Put", request{ID: "l"}, "busy")
	p.refused("Remove", request{ID: "l"}, "busy")
	require.True(t, p.do("Exists", request{ID: "l"}).Exists)
	require.NoError(t, f.Close())
	require.Equal(t, dir, p.do("Get", request{ID: "l"}).Dir)
	p.do("Put", request{ID: "l"})
	require.Empty(t, p.mountedIDs())
	p.do("Remove", request{ID: "l"})
	p.requireNothingLeft()
}

func TestNothingIsMadeOnALayerThatIsBeingWrittenTo(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, p *plugin) {
		p.mountsWritable()
		p.do("CreateReadWrite", request{ID: "l"})
		p.do("Get", request{ID: "l"})
		p.refused("Create", request{ID: "child", Parent: "l"}, "busy")
		p.restart() // whether it is still used is not known, and it is not
		p.do("Create", request{ID: "child", Parent: "l"})
		require.Empty(t, p.mountedIDs())
		p.mounted("l", func(dir string) {
			require.Error(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600), "it cannot be written to any more")
		})
	})
}

func TestARemovedContainerLeavesNoMount(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.do("CreateReadWrite", request{ID: "l"})
	p.do("Get", request{ID: "l"})
	p.do("Get", request{ID: "l"})
	p.do("Remove", request{ID: "l"})
	p.requireNothingLeft()
}

func TestTheMountTableIsReadWhateverItHolds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space and \\ and tab\t")
	require.NoError(t, os.Mkdir(dir, 0o700))
	ids, err := mountedBelow(dir)
	require.NoError(t, err)
	require.Empty(t, ids)
	require.Equal(t, "a b\\c\t\\04", unescape(`a\040b\134c\011\04`))
	require.Equal(t, `\999`, unescape(`\999`))
}

func TestADirectoryThatOthersCanWriteToIsRefused(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "open"), 0o700))
	require.NoError(t, os.Chmod(filepath.Join(root, "open"), 0o777))
	_, err := openMountTable(filepath.Join(root, "open"))
	require.ErrorContains(t, err, "only uid")
	require.NoError(t, os.WriteFile(filepath.Join(root, "file"), nil, 0o600))
	_, err = openMountTable(filepath.Join(root, "file"))
	require.Error(t, err)
}
