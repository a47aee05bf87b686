package robustness

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// killPlaces are the file systems and backends on which processes are killed.
var killPlaces = []struct {
	fs      fstest.FS
	backend string
}{{fstest.Ext4, "overlay2"}, {fstest.XFS, "vfs"}, {fstest.Btrfs, "btrfs"}}

// A killOutcome counts what came of killing processes with a signal.
type killOutcome struct {
	fs, backend, signal string
	served              bool
	// kills is how many commands were run to be interrupted, hits how often a
	// process was at work when it got the signal.
	kills, hits, broken int
}

func (k *killOutcome) add(findings []finding) {
	if len(findings) > 0 {
		k.broken++
	}
}

func (k *killOutcome) key() string { return fmt.Sprint(k.backend, k.fs, k.served, k.signal) }

// kills collects outcomes of subtests that run side by side.
type kills struct {
	mu  sync.Mutex
	all []*killOutcome
}

// add adds to the outcome of the same kind.
func (s *kills) add(k *killOutcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.all {
		if other.key() == k.key() {
			other.kills, other.hits, other.broken = other.kills+k.kills, other.hits+k.hits, other.broken+k.broken
			return
		}
	}
	s.all = append(s.all, k)
}

// complete reports whether processes were killed on each of the backends that
// the table has.
func (s *kills) complete() bool {
	backends := map[string]bool{}
	for _, k := range s.all {
		backends[k.backend] = true
	}
	return len(backends) == len(killPlaces)
}

// table writes outcomes as Markdown.
func (s *kills) table(seed uint64, when time.Time) string {
	rows := map[string]*killOutcome{}
	for _, k := range s.all {
		rows[k.key()] = k
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s with the seed %d.\n\n", when.UTC().Format(time.DateOnly), seed)
	b.WriteString("| file system | backend | process | signal | commands | killed at work | lost or torn |\n|---|---|---|---|---|---|---|\n")
	for _, key := range sorted(rows) {
		k := rows[key]
		process := "the command"
		if k.served {
			process = "the service"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %d | %d |\n", k.fs, k.backend, process, k.signal, k.kills, k.hits, k.broken)
	}
	return b.String()
}
