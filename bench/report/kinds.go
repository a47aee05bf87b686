package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/bench"
)

// kinds is what a report says of its subjects, by name. A subject of which it
// says nothing is a driver.
type kinds map[string]bench.SubjectInfo

func kindsOf(r *bench.Report) kinds {
	k := kinds{}
	for _, s := range r.Subjects {
		k[s.Name] = s
	}
	return k
}

// baseOf is the driver of a variant: "overlay2" of "overlay2+metacopy".
func (k kinds) baseOf(subject string) string {
	if of := k[subject].VariantOf; of != "" {
		return of
	}
	return subject
}

func (k kinds) isVariant(subject string) bool { return k[subject].VariantOf != "" }

// isPeer reports a snapshotter of another program.
func (k kinds) isPeer(subject string) bool { return k[subject].Peer }

// isBare reports the subject that is the file system itself.
func (k kinds) isBare(subject string) bool { return k[subject].Bare }

// isCopying reports a driver for which each layer is a full copy of its parent.
func (k kinds) isCopying(subject string) bool { return k[k.baseOf(subject)].Copies }

// isChoice reports a driver that can be recommended, with the mount options it
// has by itself.
func (k kinds) isChoice(subject string) bool {
	s := k[subject]
	return s.VariantOf == "" && !s.Peer && !s.Reference
}

func (k kinds) isCopyingChoice(subject string) bool {
	return k.isChoice(subject) && k.isCopying(subject)
}

// bareOf returns the subject among names that is the file system itself, empty
// if there is none.
func (k kinds) bareOf(names []string) string {
	if i := slices.IndexFunc(names, k.isBare); i >= 0 {
		return names[i]
	}
	return ""
}

// sort returns names in the order of a report: each driver is followed by its
// variants, then come peers, then what is there to compare with, and the bare
// file system is last.
func (k kinds) sort(names []string) []string {
	first := map[string]int{}
	for i, n := range names {
		base := k.baseOf(n)
		if _, ok := first[base]; !ok {
			first[base] = i
		}
	}
	rank := func(n string) int {
		switch s := k[n]; {
		case s.Bare:
			return 3
		case s.Reference:
			return 2
		case s.Peer:
			return 1
		}
		return 0
	}
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(first[k.baseOf(a)], first[k.baseOf(b)]),
			cmp.Compare(strings.Count(a, "+"), strings.Count(b, "+")),
		)
	})
	return sorted
}
