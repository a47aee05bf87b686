package robustness

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/durable"
)

// A snapshot is what is known of a snapshot of a store.
type snapshot struct {
	kind, parent string
	// diff is the digest of its diff against the parent; empty while its content is
	// promised to nobody, as that of a writable snapshot is while it is mounted.
	diff string
}

// unreadable takes the place of the digest of what is damaged so that it cannot
// be read.
const unreadable = "unreadable"

// A state is what a store holds, and the files that were exported from it.
type state struct {
	snapshots map[string]snapshot
	images    map[string]string // the digest of the manifest, by name
	files     map[string]string // the digest of the content, by path
	// whole is what a store that was damaged on purpose held before, and holds
	// again when it is repaired; nil for one that was not.
	whole *state
	// closed: it cannot be opened before it is rebuilt.
	closed bool
}

func newState() state {
	return state{snapshots: map[string]snapshot{}, images: map[string]string{}, files: map[string]string{}}
}

func (s state) clone() state {
	s.snapshots, s.images, s.files = maps.Clone(s.snapshots), maps.Clone(s.images), maps.Clone(s.files)
	return s
}

// A step is something done to a store, and what was promised when it was
// acknowledged.
type step struct {
	name string
	// position is the place in the log at which it was acknowledged.
	position int64
	after    state
}

// damage is a way in which a promise was broken.
type damage string

// The ways.
const (
	lost      damage = "lost"      // what was promised is not there
	torn      damage = "torn"      // it is there, and not what was promised
	stray     damage = "stray"     // something is there that nobody was told of
	unusable  damage = "unusable"  // a command fails
	unmounted damage = "unmounted" // the file system cannot be mounted
)

// A finding is one broken promise.
type finding struct {
	damage damage
	what   string
}

func (f finding) String() string { return string(f.damage) + ": " + f.what }

// mending returns what may be found while a store that was damaged is being
// mended: each thing as damaged, or whole. While it is being damaged, nothing
// is promised of what that changes, but that it is there.
func mending(before, after state) (_, _ state, whole *state) {
	switch {
	case before.whole != nil:
		return before.halfMended(*before.whole), *before.whole, before.whole
	case after.whole == nil:
		return before, after, nil
	}
	before, after = before.clone(), after.clone()
	for key, row := range before.snapshots {
		if row != after.snapshots[key] {
			row.diff = ""
			before.snapshots[key] = row
		}
	}
	for name, d := range before.images {
		if d != after.images[name] {
			before.images[name] = ""
		}
	}
	return before, after, after.whole
}

// halfMended is a damaged store in which something may be whole again: the diff
// of what stands on that is another one, until it is made whole itself.
func (s state) halfMended(whole state) state {
	s = s.clone()
	damaged := func(name string) bool { return s.snapshots[name] != whole.snapshots[name] }
	var above []string
	for name, row := range s.snapshots {
		for parent := row.parent; parent != ""; parent = s.snapshots[parent].parent {
			if damaged(parent) {
				above = append(above, name)
				break
			}
		}
	}
	for _, name := range above {
		row := s.snapshots[name]
		row.diff = ""
		s.snapshots[name] = row
	}
	return s
}

// compare says how a store that was found breaks what was promised before, when
// a step from before to after was under way. What that step changes may be as
// it was before or as it is after. Some steps leave something when they are
// interrupted.
func compare(before, after, found state, doing string) []finding {
	findings := compareKind("snapshot", before.snapshots, after.snapshots, found.snapshots,
		func(name string) bool { return strings.Contains(doing, "import") && isOfImport(name) },
		func(want, got snapshot) bool { return want.same(got) })
	same := func(want, got string) bool { return want == got || want == "" }
	findings = append(findings, compareKind("image", before.images, after.images, found.images, never, same)...)
	return append(findings, compareKind("file", before.files, after.files, found.files,
		// Complete files, which have another name before they have their own.
		func(name string) bool {
			return (doing == "snapctl export" || doing == "snapctl diff") && strings.HasPrefix(name, durable.TempPrefix)
		}, same)...)
}

func never(string) bool { return false }

// isOfImport reports whether a snapshot is one that an import works in. The
// next import, and gc, remove it.
func isOfImport(name string) bool { return strings.HasPrefix(name, "import-") }

// same reports whether a snapshot is what was promised.
func (s snapshot) same(got snapshot) bool {
	if s.diff == "" {
		got.diff = ""
	}
	return s == got
}

// inDoubt lists the snapshots to which a layer was being applied. Each is as it
// was before, or as it is after, or torn and then never becomes a committed
// one.
func inDoubt(before, after state) map[string]bool {
	doubt := map[string]bool{}
	for name, b := range before.snapshots {
		if a, there := after.snapshots[name]; there && b.kind == "active" && a.diff != b.diff {
			doubt[name] = true
		}
	}
	return doubt
}

// withoutContent returns the state with no promise of what some snapshots hold.
func (s state) withoutContent(names map[string]bool) state {
	s = s.clone()
	for name := range names {
		if row, there := s.snapshots[name]; there {
			row.diff = ""
			s.snapshots[name] = row
		}
	}
	return s
}

func compareKind[V any](kind string, before, after, found map[string]V, mayBeLeft func(string) bool, same func(want, got V) bool) []finding {
	var findings []finding
	all := maps.Clone(before)
	maps.Copy(all, after)
	maps.Copy(all, found)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b, inBefore := before[name]
		a, inAfter := after[name]
		got, inFound := found[name]
		what := fmt.Sprintf("%s %q", kind, name)
		switch {
		case !inFound && inBefore && inAfter:
			findings = append(findings, finding{lost, what})
		case !inFound:
		case !inBefore && !inAfter:
			if !mayBeLeft(name) {
				findings = append(findings, finding{stray, what})
			}
		case inBefore && same(b, got) || inAfter && same(a, got):
		default:
			findings = append(findings, finding{torn, fmt.Sprintf("%s is %+v, was %+v, becomes %+v", what, got, b, a)})
		}
	}
	return findings
}

func TestWhatAStepChangesMayBeAsBeforeOrAsAfter(t *testing.T) {
	committed := func(diff string) snapshot { return snapshot{"committed", "", diff} }
	active := snapshot{"active", "", ""}
	store := func(snapshots map[string]snapshot) state {
		s := newState()
		s.snapshots = snapshots
		return s
	}
	before := store(map[string]snapshot{"kept": committed("1"), "removed": committed("2"), "work": active})
	after := store(map[string]snapshot{"kept": committed("1"), "made": committed("3"), "work": active})
	for name, c := range map[string]struct {
		found map[string]snapshot
		want  []string
	}{
		"as before":      {before.snapshots, nil},
		"as after":       {after.snapshots, nil},
		"both":           {map[string]snapshot{"kept": committed("1"), "removed": committed("2"), "made": committed("3"), "work": {"active", "", "any"}}, nil},
		"left by a step": {map[string]snapshot{"kept": committed("1"), "work": active, "import-1": active}, nil},
		"lost":           {map[string]snapshot{"work": active}, []string{`lost: snapshot "kept"`}},
		"torn":           {map[string]snapshot{"kept": committed("4"), "work": active}, []string{`torn: snapshot "kept" is`}},
		"not whole":      {map[string]snapshot{"kept": committed("1"), "made": committed("4"), "work": active}, []string{`torn: snapshot "made" is`}},
		"stray":          {map[string]snapshot{"kept": committed("1"), "x": active, "work": active}, []string{`stray: snapshot "x"`}},
		"another kind":   {map[string]snapshot{"kept": committed("1"), "work": committed("")}, []string{`torn: snapshot "work" is`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := compare(before, after, store(c.found), "snapctl import")
			require.Len(t, got, len(c.want), "%v", got)
			for i, want := range c.want {
				require.True(t, strings.HasPrefix(got[i].String(), want), "%v", got)
			}
		})
	}
}

func TestWhatIsMendedIsAsDamagedOrWhole(t *testing.T) {
	whole, harmed := newState(), newState()
	whole.snapshots = map[string]snapshot{"hit": {"committed", "", "1"}, "other": {"committed", "", "2"}}
	whole.images = map[string]string{"image": "3"}
	harmed.snapshots = map[string]snapshot{"hit": {"committed", "", unreadable}, "other": {"committed", "", "2"}}
	harmed.images = map[string]string{"image": unreadable}
	harmed.whole = &whole
	with := func(diff, other, image string) state {
		found := newState()
		found.snapshots = map[string]snapshot{"hit": {"committed", "", diff}, "other": {"committed", "", other}}
		found.images = map[string]string{"image": image}
		return found
	}
	for name, c := range map[string]struct {
		before, after, found state
		broken               int
	}{
		"as damaged":             {harmed, whole, with(unreadable, "2", unreadable), 0},
		"whole":                  {harmed, whole, with("1", "2", "3"), 0},
		"the one and the other":  {harmed, harmed, with("1", "2", unreadable), 0},
		"a mixture":              {harmed, whole, with("4", "2", "5"), 2},
		"another one is damaged": {harmed, whole, with("1", unreadable, "3"), 1},
		"being damaged":          {whole, harmed, with("4", "2", "5"), 0},
		"too much is damaged":    {whole, harmed, with("1", "4", "3"), 1},
		"mended":                 {whole, whole, with(unreadable, "2", "3"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			before, after, _ := mending(c.before, c.after)
			require.Len(t, compare(before, after, c.found, "snapctl repair"), c.broken)
		})
	}
}

func TestASnapshotIsInDoubtWhileALayerIsAppliedToIt(t *testing.T) {
	before, after := newState(), newState()
	before.snapshots = map[string]snapshot{"a": {"active", "", "1"}, "b": {"active", "", "1"}, "c": {"committed", "", "1"}, "d": {"active", "", "1"}}
	after.snapshots = map[string]snapshot{"a": {"active", "", "2"}, "b": {"active", "", "1"}, "c": {"committed", "", "1"}}
	require.Equal(t, map[string]bool{"a": true}, inDoubt(before, after))
	found := before.clone()
	found.snapshots["a"] = snapshot{"active", "", "3"}
	require.Len(t, compare(before, after, found, ""), 1)
	require.Empty(t, compare(before.withoutContent(inDoubt(before, after)), after, found, ""))
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
