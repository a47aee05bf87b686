package engines

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// TestKillDuringImport kills the service again and again while images are
// imported in three namespaces at once.
func TestKillDuringImport(t *testing.T) {
	requirements(t, "containerd", "ctr", containerd2+"/containerd", containerd2+"/ctr")
	for _, c := range []struct {
		tools, backend string
		settings       settings
	}{
		{"", "overlay2", settings{}},
		{containerd2, "overlay2", settings{rebase: true, differ: true, unpacks: 3}},
		{"", "btrfs", settings{}},
		{containerd2, "vfs", settings{}},
	} {
		t.Run(fmt.Sprintf("%s with %s", orDefault(c.tools, "containerd of the distribution"), c.backend), func(t *testing.T) {
			l := newLife(t, c.tools, c.backend, c.settings)
			l.killDuringImports(t)
		})
	}
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

var namespaces = []string{"one", "two", "three"}

func (l *life) killDuringImports(t *testing.T) {
	t.Helper()
	hit := 0
	for _, after := range []time.Duration{0, 5, 15, 30, 60, 120} {
		if l.killAfter(t, after*time.Millisecond) {
			hit++
		}
	}
	require.NotZero(t, hit, "no import was under way when the service was killed")
	for _, namespace := range namespaces {
		l.importIn(t, namespace)
		l.c.ctr(t, "--namespace", namespace, "images", "rm", "--sync", imported)
	}
	l.requireEmptyIn(t, namespaces...)
	l.did(t, "kill -9 during import")
}

// killAfter imports in all namespaces, kills the service a while after the
// first layer was begun, starts it anew, and returns whether an import was
// still going on.
func (l *life) killAfter(t *testing.T, after time.Duration) bool {
	t.Helper()
	before := l.s.layerDirs(t)
	errs := make([]error, len(namespaces))
	var imports sync.WaitGroup
	for i, namespace := range namespaces {
		imports.Go(func() { errs[i] = l.tryImport(namespace) })
	}
	done := make(chan struct{})
	go func() { imports.Wait(); close(done) }()
	hit := l.s.killUnder(t, done, before, after)
	l.s.start(t)
	<-done
	l.c.reconnects(t)
	for i, namespace := range namespaces {
		if errs[i] != nil {
			// The engine reconnects by itself and the same import succeeds.
			require.NoError(t, l.tryImport(namespace), "after: %v", errs[i])
		}
		l.requireTreeIn(t, namespace)
		l.c.ctr(t, "--namespace", namespace, "images", "rm", "--sync", imported)
	}
	return hit
}

func (l *life) tryImport(namespace string) error {
	_, err := l.c.try("--namespace", namespace, "images", "import", "--snapshotter", snapshotter, "--base-name", "imported/image", l.img.archive)
	return err
}

func (l *life) importIn(t testing.TB, namespace string) {
	t.Helper()
	require.NoError(t, l.tryImport(namespace))
	l.requireTreeIn(t, namespace)
}

func (l *life) requireTreeIn(t testing.TB, namespace string) {
	t.Helper()
	fstest.RequireEqual(t, l.img.tree, l.treeIn(t, namespace, imported, snapshotter), "the image imported in namespace "+namespace)
}
