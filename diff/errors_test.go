//go:build linux

package diff_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// spyView calls a function before every lookup in its tree.
type spyView struct {
	diff.View
	lookup func(name string)
}

type spyDir struct {
	diff.Dir
	lookup func(name string)
}

func (v spyView) Root() (diff.Dir, error) {
	d, err := v.View.Root()
	return spyDir{d, v.lookup}, err
}

func (d spyDir) OpenDir(name string) (diff.Dir, error) {
	sub, err := d.Dir.OpenDir(name)
	return spyDir{sub, d.lookup}, err
}

func (d spyDir) Lookup(name string) (diff.Node, error) {
	d.lookup(name)
	return d.Dir.Lookup(name)
}

func TestAFileThatVanishesDuringTheWalkIsAnError(t *testing.T) {
	for name, base := range map[string][]Edit{
		"a new file": nil,
		"a file of both sides": {
			Create("b", "x"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			old, new := tree(t, base...), tree(t, Create("a", "x"), Create("b", "x"))
			spy := spyView{view(t, new), func(name string) {
				if name == "b" {
					_ = os.Remove(filepath.Join(new, "b"))
				}
			}}
			_, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), spy, diff.Options{}))
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.ErrorContains(t, err, filepath.Join(new, "b"))
		})
	}
}

func TestAFileThatShrinksWhileItIsComparedIsAnError(t *testing.T) {
	body := strings.Repeat("x", 1000)
	old, new := tree(t, Create("f", body)), tree(t, Create("f", body))
	spy := spyView{view(t, old), func(string) { // the new side was already examined
		_ = os.Truncate(filepath.Join(new, "f"), 10)
	}}
	_, err := difftest.Collect(diff.Compare(t.Context(), spy, view(t, new), diff.Options{}))
	require.ErrorContains(t, err, "compare f: file shrank")
}

func TestCompareStopsWhenItsContextEnds(t *testing.T) {
	root := tree(t, Create("a", "x"), Create("b", "x"), Create("c", "x"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	var last error
	for _, err := range diff.Compare(ctx, nil, view(t, root), diff.Options{}) {
		last = err
		if err == nil {
			seen++
			cancel()
		}
	}
	require.ErrorIs(t, last, context.Canceled)
	require.Equal(t, 1, seen)
}

func TestAConsumerMayStopEarly(t *testing.T) {
	root := tree(t, Mkdir("d"), Create("d/a", "x"), Create("d/b", "x"))
	for c, err := range diff.Compare(t.Context(), nil, view(t, root), diff.Options{}) {
		require.NoError(t, err)
		if c.Path == "d/a" {
			break
		}
	}
	require.Empty(t, openBelow(t, root))
}

// openBelow returns the descriptors of this process for files below root,
// without root itself.
func openBelow(t *testing.T, root string) []string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	var open []string
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(target, root+"/") {
			open = append(open, target)
		}
	}
	return open
}

func TestTheBodyOfAChangeIsThatOfItsFile(t *testing.T) {
	root := tree(t, Create("f", "body"), Mkdir("d"), MakeLink("g", "f"))
	bodies := map[string]string{}
	for c, err := range diff.Compare(t.Context(), nil, view(t, root), diff.Options{}) {
		require.NoError(t, err)
		r, err := c.Open()
		if err != nil {
			continue
		}
		body, err := io.ReadAll(r)
		require.NoError(t, errors.Join(err, r.Close()))
		bodies[c.Path] = string(body)
	}
	require.Equal(t, map[string]string{"f": "body"}, bodies)
}

func TestSecuritySelinuxIsNotCarried(t *testing.T) {
	needsRoot(t)
	root := tree(t, Mkdir("d"), Create("f", "x"))
	for _, name := range []string{".", "d", "f"} {
		if err := SetXattr(name, "security.selinux", "label").Apply(root); err != nil {
			t.Skipf("needs a file system that takes security.selinux: %v", err)
		}
		require.NoError(t, SetXattr(name, "user.x", "y").Apply(root))
	}
	changes, _ := compare(t, tree(t), root)
	require.Len(t, changes, 3)
	for _, c := range changes {
		require.Equal(t, map[string]string{"user.x": "y"}, c.Xattrs, c.Path)
	}
}
