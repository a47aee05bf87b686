package engines

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The tools that scripts/build-test-tools builds; the script has the same
// names.
const (
	containerd17 = "containerd-1.7.35"
	containerd2  = "containerd-2.4.2"
	buildkit     = "buildkit-0.33.1"
	moby         = "moby-2.0.0-beta.24"
	runc15       = "runc-1.5.2" // Debian's is too old for Docker 29
)

var builtTools = []string{containerd17, containerd2, buildkit, moby, runc15}

// A result is one operation that was seen to work.
type result struct {
	Engine, Version, Backend, Operation string
}

// operations is the order of the table's rows; what is not in it comes last.
var operations = []string{
	"import", "pull", "build", "build with BuildKit", "layers as with its own snapshotter", "run", "exec", "diff", "commit", "push", "save and load", "restart of the service", "kill -9 during import", "kill -9 during pull", "kill -9 during build",
	"differ", "parallel unpack", "parallel unpack with differ", "mapped IDs", "size limit", "another engine on the same store", "remove and gc",
}

var backendOrder = []string{"overlay2", "btrfs", "vfs", "aufs"}

func byRank(order []string) func(a, b string) int {
	rank := func(s string) int {
		if i := slices.Index(order, s); i >= 0 {
			return i
		}
		return len(order)
	}
	return func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b)) }
}

// table writes results as Markdown: a row for each operation, a column for each
// engine and version, and in the cells the backends with which it worked.
func table(results []result) string {
	cells := map[string]map[string][]string{} // operation -> engine -> backends
	engines := map[string]bool{}
	for _, r := range results {
		engine := r.Engine + " " + r.Version
		engines[engine] = true
		if cells[r.Operation] == nil {
			cells[r.Operation] = map[string][]string{}
		}
		if !slices.Contains(cells[r.Operation][engine], r.Backend) {
			cells[r.Operation][engine] = append(cells[r.Operation][engine], r.Backend)
		}
	}
	columns := slices.Sorted(maps.Keys(engines))
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s |\n|---%s|\n", strings.Join(columns, " | "), strings.Repeat("|---", len(columns)))
	for _, op := range slices.SortedFunc(maps.Keys(cells), byRank(operations)) {
		fmt.Fprintf(&b, "| %s |", op)
		for _, engine := range columns {
			backends := cells[op][engine]
			slices.SortFunc(backends, byRank(backendOrder))
			fmt.Fprintf(&b, " %s |", strings.Join(backends, ", "))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// parseTable is the inverse of table. Lines that are none of its rows are an
// error.
func parseTable(text string) ([]result, error) {
	var columns []string
	var results []result
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "|---") {
			continue
		}
		fields := strings.Split(strings.Trim(line, "|"), "|")
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		if columns == nil {
			columns = fields
			continue
		}
		if len(fields) != len(columns) {
			return nil, fmt.Errorf("a row of the table has %d fields, its head %d: %s", len(fields), len(columns), line)
		}
		for i, backends := range fields[1:] {
			at := strings.LastIndex(columns[i+1], " ")
			if at < 0 {
				return nil, fmt.Errorf("no version in the column %q", columns[i+1])
			}
			for backend := range strings.SplitSeq(backends, ", ") {
				if backend != "" {
					results = append(results, result{columns[i+1][:at], columns[i+1][at+1:], backend, fields[0]})
				}
			}
		}
	}
	return results, nil
}

// differences says how what was seen differs from what the table says. A
// version of an engine that the table lacks is only differences when the engine
// as a whole is unknown: distributions bring others. complete says that
// everything ran, so what was not seen no longer works.
func differences(documented, seen []result, complete bool) []string {
	versions := map[string]map[string]bool{}
	for _, r := range documented {
		if versions[r.Engine] == nil {
			versions[r.Engine] = map[string]bool{}
		}
		versions[r.Engine][r.Version] = true
	}
	ran := map[string]bool{}
	var lines []string
	for _, r := range seen {
		ran[r.Engine+" "+r.Version] = true
		other := versions[r.Engine] != nil && !versions[r.Engine][r.Version]
		if !other && !slices.Contains(documented, r) {
			lines = append(lines, fmt.Sprintf("not in the table: %s %s, %s: %s", r.Engine, r.Version, r.Backend, r.Operation))
		}
	}
	for _, r := range documented {
		if complete && ran[r.Engine+" "+r.Version] && !slices.Contains(seen, r) {
			lines = append(lines, fmt.Sprintf("in the table, but not seen: %s %s, %s: %s", r.Engine, r.Version, r.Backend, r.Operation))
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}
