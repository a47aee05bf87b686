package snapshotter

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func TestUpdateChangesTheLabelsItNames(t *testing.T) {
	for name, c := range map[string]struct {
		labels map[string]string
		paths  []string
		want   map[string]string
	}{
		"all, without paths":      {map[string]string{"c": "3"}, nil, map[string]string{"c": "3"}},
		"all, by name":            {map[string]string{"c": "3"}, []string{"labels"}, map[string]string{"c": "3"}},
		"one of them":             {map[string]string{"a": "9", "b": "9"}, []string{"labels.a"}, map[string]string{"a": "9", "b": "2"}},
		"one with dots":           {map[string]string{"x.y/z": "9"}, []string{"labels.x.y/z"}, map[string]string{"a": "1", "b": "2", "x.y/z": "9"}},
		"removing one":            {nil, []string{"labels.a"}, map[string]string{"b": "2"}},
		"removing by empty value": {map[string]string{"a": "", "b": "2"}, nil, map[string]string{"b": "2"}},
		"removing all":            {nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openFake(t)
			_, err := s.Prepare(t.Context(), "key", "", snapshots.WithLabels(map[string]string{"a": "1", "b": "2"}))
			require.NoError(t, err)
			before, err := s.Stat(t.Context(), "key")
			require.NoError(t, err)

			updated, err := s.Update(t.Context(), snapshots.Info{Name: "key", Parent: "ignored", Labels: c.labels}, c.paths...)
			require.NoError(t, err)

			require.Equal(t, c.want, updated.Labels)
			require.Equal(t, before.Created, updated.Created)
			require.True(t, updated.Updated.After(before.Updated))
			require.Empty(t, updated.Parent)
			after, err := s.Stat(t.Context(), "key")
			require.NoError(t, err)
			require.Equal(t, updated, after)
		})
	}
}

func TestWalkShowsWhatTheFiltersMatch(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "base")
	_, err := s.Prepare(t.Context(), "key", "base", snapshots.WithLabels(map[string]string{"x.y/z": "1"}))
	require.NoError(t, err)
	_, err = s.View(t.Context(), "view", "base")
	require.NoError(t, err)
	for filter, want := range map[string][]string{
		"":                       {"base", "key", "view"},
		"kind==committed":        {"base"},
		"kind==active":           {"key"},
		"kind==view":             {"view"},
		"parent==base":           {"key", "view"},
		`name~="^(base|view)$"`:  {"base", "view"},
		`labels."x.y/z"==1`:      {"key"},
		"labels.missing":         nil,
		"nothing.of.the.kind==1": nil,
	} {
		var filters []string
		if filter != "" {
			filters = []string{filter}
		}
		var got []string
		require.NoError(t, s.Walk(t.Context(), func(_ context.Context, info snapshots.Info) error {
			got = append(got, info.Name)
			return nil
		}, filters...))
		require.Equal(t, want, got, "filter %q", filter)
	}
}

func TestAKeyWhoseCleaningUpFailedCanBeUsedAgain(t *testing.T) {
	injected := errors.New("injected")
	failing := map[string]bool{}
	s := openAt(t, memDir(t), Options{open: newFakeDisk().open, hook: func(point string) error {
		if failing[point] {
			return injected
		}
		return nil
	}})
	commit(t, s, "base", "", "base")

	failing["activate before"], failing["discard before"] = true, true
	_, err := s.Prepare(t.Context(), "key", "base")
	require.ErrorIs(t, err, injected)
	require.Equal(t, meta.Pending, rowsOf(t, s)["key"].State)

	clear(failing)
	_, err = s.Prepare(t.Context(), "key", "base")
	require.NoError(t, err)
	requireSound(t, s)
}

func TestAViewIsReadWithoutMountingIt(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			s := openAt(t, freshDir(t, alltest.Place(t, memDir(t), name)), Options{Driver: name})
			commit(t, s, "base", "", layerTar("lower"))
			active(t, s, "key", "base", layerTar("upper"))

			view, err := s.OpenView(t.Context(), "key")
			require.NoError(t, err)
			root, err := view.Root()
			require.NoError(t, err)
			names, err := root.Names()
			require.NoError(t, err)
			require.Equal(t, []string{"lower", "upper"}, names)
			file, err := root.Open("lower")
			require.NoError(t, err)
			body, err := io.ReadAll(file)
			require.NoError(t, errors.Join(err, file.Close(), root.Close(), view.Close()))
			require.Equal(t, "lower", string(body))
		})
	}
}

func TestAFailedApplyLeavesTheSnapshotAsBefore(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			s := openAt(t, freshDir(t, alltest.Place(t, memDir(t), name)), Options{Driver: name})
			active(t, s, "key", "", layerTar("file"))
			before := diffOf(t, s, "key")

			for _, layer := range []string{"no tar at all", layerTar("other")[:700], layerTar("../outside/../../x") + "x"} {
				_, err := s.Apply(t.Context(), "key", strings.NewReader(layer), driver.ApplyOptions{DiffID: digest.FromString("something else")})
				require.Error(t, err)
				require.Equal(t, before, diffOf(t, s, "key"))
			}
		})
	}
}
