package graphdriver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// TestAnImageIsPulledAndAContainerRunsOnIt takes the way that Docker takes.
func TestAnImageIsPulledAndAContainerRunsOnIt(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, p *plugin) {
		size := p.image("base", "", fstest.Dir("etc"), fstest.File("etc/old", "old"), fstest.File("etc/kept", "kept!"))
		require.EqualValues(t, 8, size, "the bytes of the files")
		require.EqualValues(t, 3, p.image("top", "base", fstest.Whiteout("etc/old"), fstest.File("new", "new")))
		require.True(t, p.do("Exists", request{ID: "top"}).Exists)
		tree := p.shows("top")
		require.Contains(t, tree, "new")
		require.NotContains(t, tree, "etc/old")

		p.do("CreateReadWrite", request{ID: "c-init", Parent: "top"})
		p.mountsWritable()
		p.mounted("c-init", func(dir string) { write(t, dir, "etc/hosts", "hosts") })
		p.do("CreateReadWrite", request{ID: "c", Parent: "c-init"})
		dir := p.do("Get", request{ID: "c"}).Dir
		write(t, dir, "data", "0123456789")
		require.NoError(t, os.Remove(filepath.Join(dir, "etc/kept")))

		// All of this while the container runs.
		require.Equal(t, []change{{"/data", changeAdd}, {"/etc", changeModify}, {"/etc/kept", changeDelete}},
			p.do("Changes", request{ID: "c", Parent: "c-init"}).Changes)
		require.EqualValues(t, 10, p.do("DiffSize", request{ID: "c", Parent: "c-init"}).Size)
		layer := p.diff("c", "c-init")
		require.EqualValues(t, "active", p.do("GetMetadata", request{ID: "c"}).Metadata["Kind"])
		want := fstest.FromPath(t, dir)
		p.do("Put", request{ID: "c"})

		// As docker commit: on the init layer's parent, without what is in it.
		p.do("Create", request{ID: "committed", Parent: "c-init"})
		require.Empty(t, p.apply("committed", "c-init", bytes.NewReader(layer)).Err)
		fstest.RequireEqual(t, want, p.shows("committed"), "the tree of what was committed")

		for _, id := range []string{"committed", "c", "c-init", "top", "base"} {
			p.do("Remove", request{ID: id})
			require.False(t, p.do("Exists", request{ID: id}).Exists)
		}
		p.requireNothingLeft()
	})
}

func TestADiffAgainstAnyLayerTurnsThatOneIntoThis(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, p *plugin) {
		p.image("a", "", fstest.Dir("d"), fstest.File("d/gone", "1"), fstest.File("same", "2"))
		p.image("b", "a", fstest.Whiteout("d/gone"), fstest.File("d/new", "3"))
		p.image("c", "b", fstest.File("top", "4"))
		p.image("other", "", fstest.File("same", "2"), fstest.File("elsewhere", "5"))
		want := p.shows("c")
		for _, parent := range []string{"", "a", "b", "other"} {
			id := "again-on-" + parent
			p.do("Create", request{ID: id, Parent: parent})
			require.Empty(t, p.apply(id, parent, bytes.NewReader(p.diff("c", parent))).Err)
			fstest.RequireEqual(t, want, p.shows(id), "applied to "+parent)
		}
		require.EqualValues(t, 3, p.do("DiffSize", request{ID: "c"}).Size)
		require.Equal(t, []change{{"/elsewhere", changeDelete}, {"/d", changeAdd}, {"/d/new", changeAdd}, {"/top", changeAdd}},
			withoutModified(p.do("Changes", request{ID: "c", Parent: "other"}).Changes))
	})
}

func withoutModified(list []change) (kept []change) {
	for _, c := range list {
		if c.Kind != changeModify {
			kept = append(kept, c)
		}
	}
	return kept
}

func TestALayerHasTheSameDiffOnEveryBackend(t *testing.T) {
	diffs := map[string]string{}
	onEveryBackend(t, func(t *testing.T, p *plugin) {
		p.image("a", "", fstest.Dir("d"), fstest.File("d/gone", "1"))
		p.image("b", "a", fstest.Whiteout("d/gone"), fstest.File("d/new", "3"))
		diffs[t.Name()] = string(p.diff("b", "a"))
		for other, layer := range diffs {
			require.Equal(t, layer, diffs[t.Name()], "as %s", other)
		}
	})
}

func TestRepeatingACreateGivesWhatIsThereUnlessItWasUsed(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.image("base", "", fstest.File("f", "1"))
	for _, method := range []string{"Create", "CreateReadWrite"} {
		p.do(method, request{ID: "l", Parent: "base"})
	}
	p.refused("Create", request{ID: "l"}, "already exists")
	p.refused("Create", request{ID: "base"}, "already exists")
	dir := p.do("Get", request{ID: "l"}).Dir
	p.refused("Create", request{ID: "l", Parent: "base"}, "already exists")
	write(t, dir, "f", "2")
	p.do("Put", request{ID: "l"})
	p.refused("Create", request{ID: "l", Parent: "base"}, "already exists")
}

// TestALayerIsAppliedOnceAndWhole: after a connection broke, Docker repeats the
// call with what it has not sent yet.
func TestALayerIsAppliedOnceAndWhole(t *testing.T) {
	p := newPlugin(t, "overlay2")
	whole := fstest.Layer(t, fstest.File("a", strings.Repeat("1", 1<<20)), fstest.File("b", "2"))
	p.do("Create", request{ID: "l"})
	body, client := io.Pipe()
	posted := make(chan error, 1)
	go func() {
		_, _, err := p.post("GraphDriver.ApplyDiff?id=l&parent=", body)
		posted <- err
	}()
	_, err := client.Write(whole[:1<<19])
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		l, err := p.driver.find(t.Context(), "l")
		return err == nil && l.applying()
	}, fstest.Patience, time.Millisecond)
	client.CloseWithError(errBroken)
	require.ErrorIs(t, <-posted, errBroken)

	rest := p.apply("l", "", strings.NewReader("")) // a valid layer, an empty one
	require.Contains(t, rest.Err, "interrupted")
	p.refused("Get", request{ID: "l"}, "interrupted")
	p.refused("Create", request{ID: "child", Parent: "l"}, "interrupted")
	p.do("Remove", request{ID: "l"})

	p.do("Create", request{ID: "l"})
	require.Empty(t, p.apply("l", "", bytes.NewReader(whole)).Err)
	require.Contains(t, p.apply("l", "", strings.NewReader("")).Err, "cannot be changed")
	require.Contains(t, p.shows("l"), "b")
	p.do("Remove", request{ID: "l"})
	p.requireNothingLeft()
}

var errBroken = errors.New("the stream broke")

func TestABrokenLayerIsRefusedAndLeavesNothing(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.do("Create", request{ID: "l"})
	require.Contains(t, p.apply("l", "other", strings.NewReader("")).Err, "parent")
	require.Contains(t, p.apply("missing", "", strings.NewReader("")).Err, "not found")
	require.Contains(t, p.apply("l", "", strings.NewReader("no tar at all")).Err, "invalid layer")
	p.do("Remove", request{ID: "l"})
	p.requireNothingLeft()
}

func TestALayerWithChildrenStaysAndSoDoesItsMount(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.image("base", "", fstest.File("f", "1"))
	p.image("child", "base", fstest.File("g", "1"))
	p.do("Get", request{ID: "base"})
	p.refused("Remove", request{ID: "base"}, "child is made on it")
	require.Equal(t, []string{"base"}, p.mountedIDs())
	p.do("Remove", request{ID: "child"})
	p.do("Remove", request{ID: "base"})
	p.do("Remove", request{ID: "base"}) // is gone already
	p.requireNothingLeft()
}

func TestOtherEnginesAndPeopleAreNotSeen(t *testing.T) {
	p := newPlugin(t, "overlay2")
	require.NoError(t, p.store.Create(t.Context(), "mine", ""))
	require.NoError(t, p.store.Commit(t.Context(), "base", "mine"))
	require.False(t, p.do("Exists", request{ID: "base"}).Exists)
	p.refused("Create", request{ID: "child", Parent: "base"}, "not found")
	p.do("Remove", request{ID: "base"})
	_, err := p.store.Stat(t.Context(), "base")
	require.NoError(t, err)
}

func TestManyContainersAtOnceDoNotDisturbEachOther(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, p *plugin) {
		p.mountsWritable()
		p.image("base", "", fstest.Dir("d"), fstest.File("d/f", "1"))
		p.do("CreateReadWrite", request{ID: "parent", Parent: "base"}) // committed by whoever comes first
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				id := fmt.Sprintf("c%d", i)
				p.do("CreateReadWrite", request{ID: id, Parent: "parent"})
				p.mounted(id, func(dir string) {
					assert.NoError(t, os.WriteFile(filepath.Join(dir, id), nil, 0o600))
					assert.Contains(t, p.do("Changes", request{ID: id, Parent: "parent"}).Changes, change{"/" + id, changeAdd})
				})
				p.do("Remove", request{ID: id})
			})
		}
		wg.Wait()
		for _, id := range []string{"parent", "base"} {
			p.do("Remove", request{ID: id})
		}
		p.requireNothingLeft()
		require.Zero(t, p.driver.ids.Len())
	})
}
