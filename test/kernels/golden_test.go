package kernels

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// goldens are digests that must be the same everywhere, and where each was
// seen.
type goldens struct {
	seen map[string]map[string][]string // name -> digest -> places
}

func newGoldens() *goldens { return &goldens{seen: map[string]map[string][]string{}} }

func (g *goldens) add(place string, digests map[string]string) {
	for name, digest := range digests {
		if g.seen[name] == nil {
			g.seen[name] = map[string][]string{}
		}
		g.seen[name][digest] = append(g.seen[name][digest], place)
	}
}

// differences names what is not the same everywhere.
func (g *goldens) differences() []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(g.seen)) {
		digests := g.seen[name]
		if len(digests) < 2 {
			continue
		}
		var parts []string
		for _, d := range slices.Sorted(maps.Keys(digests)) {
			parts = append(parts, fmt.Sprintf("%s on %s", d, strings.Join(digests[d], ", ")))
		}
		found = append(found, name+": "+strings.Join(parts, "; "))
	}
	return found
}
