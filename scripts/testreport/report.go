package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// An event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a package that does not build
	Test       string
	Output     string
	Elapsed    float64
}

// A test is one test or subtest that ended.
type test struct {
	pkg, name string
	action    string // pass, fail or skip
	output    []string
	leaf      bool
}

type report struct {
	out      io.Writer
	tests    map[[2]string]*test
	packages map[string]*pkgState
	broken   []string // lines that are no events: build errors
	failed   []string // packages
	total    map[string]int
}

// pkgState holds what has to wait until the package ends.
type pkgState struct {
	output []string
	order  []*test
}

func newReport(out io.Writer) *report {
	return &report{
		out:      out,
		tests:    map[[2]string]*test{},
		packages: map[string]*pkgState{},
		total:    map[string]int{},
	}
}

func (r *report) ok() bool { return len(r.failed) == 0 && len(r.broken) == 0 }

func (r *report) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		r.broken = append(r.broken, line)
		return
	}
	switch {
	case strings.HasPrefix(e.Action, "build-"):
		r.build(e)
	case e.Test == "":
		r.pkgEvent(e)
	default:
		r.testEvent(e)
	}
}

func (r *report) build(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(r.out, e.Output)
	}
	if e.Action == "build-fail" {
		r.failed = append(r.failed, e.ImportPath)
	}
}

func (r *report) state(pkg string) *pkgState {
	s := r.packages[pkg]
	if s == nil {
		s = &pkgState{}
		r.packages[pkg] = s
	}
	return s
}

func (r *report) testEvent(e event) {
	key := [2]string{e.Package, e.Test}
	t := r.tests[key]
	if t == nil {
		t = &test{pkg: e.Package, name: e.Test, leaf: true}
		r.tests[key] = t
		if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
			if parent := r.tests[[2]string{e.Package, e.Test[:i]}]; parent != nil {
				parent.leaf = false
			}
		}
	}
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			t.output = append(t.output, e.Output)
		}
	case "pass", "fail", "skip":
		t.action = e.Action
		s := r.state(e.Package)
		s.order = append(s.order, t)
		if e.Action == "pass" {
			t.output = nil
		}
	}
}

func (r *report) pkgEvent(e event) {
	s := r.state(e.Package)
	switch e.Action {
	case "output":
		s.output = append(s.output, e.Output)
	case "pass", "fail", "skip":
		r.endPackage(e, s)
		delete(r.packages, e.Package)
	}
}

// endPackage prints go test's own closing line of the package, or everything the
// package said when it failed, and below it the suites.
func (r *report) endPackage(e event, s *pkgState) {
	if e.Action == "fail" {
		r.failed = append(r.failed, e.Package)
		for _, t := range r.unfinished(e.Package) {
			t.action = "fail"
			s.order = append(s.order, t)
		}
	}
	for _, line := range s.output {
		if e.Action == "fail" || closing(line) {
			fmt.Fprint(r.out, line)
		}
	}
	r.suites(s.order)
	for _, t := range s.order {
		if t.leaf {
			r.total[t.action]++
		}
		if t.action == "fail" && (t.leaf || len(t.output) > 1) {
			fmt.Fprintf(r.out, "    FAILED %s\n", t.name)
			for _, line := range t.output {
				fmt.Fprint(r.out, "      ", line)
			}
		}
	}
}

// unfinished returns the tests of a package that began and did not end, because
// the test binary panicked or ran into its time limit.
func (r *report) unfinished(pkg string) []*test {
	var found []*test
	for key, t := range r.tests {
		if key[0] == pkg && t.action == "" {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *test) int { return strings.Compare(a.name, b.name) })
	return found
}

func closing(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "?   \t") || strings.HasPrefix(line, "FAIL\t")
}

// suites prints one line for each test with subtests, split by its first level
// of subtests when those have subtests in turn.
func (r *report) suites(order []*test) {
	counts := map[string]map[string]int{}
	single := 0
	for _, t := range order {
		if !t.leaf {
			continue
		}
		suite := suiteOf(t.name)
		if suite == "" {
			single++
			continue
		}
		if counts[suite] == nil {
			counts[suite] = map[string]int{}
		}
		counts[suite][t.action]++
	}
	for _, suite := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(r.out, "      %-60s %s\n", suite, tally(counts[suite]))
	}
	if single > 0 && len(counts) > 0 {
		fmt.Fprintf(r.out, "      %-60s %d\n", "tests without subtests", single)
	}
}

// suiteOf returns the name under which a subtest is counted: its first two
// levels, or the first when there are only two. It is empty for a plain test.
func suiteOf(name string) string {
	parts := strings.SplitN(name, "/", 3)
	switch len(parts) {
	case 1:
		return ""
	case 2:
		return parts[0]
	default:
		return parts[0] + "/" + parts[1]
	}
}

func tally(counts map[string]int) string {
	var parts []string
	for _, k := range [][2]string{{"pass", "passed"}, {"fail", "FAILED"}, {"skip", "skipped"}} {
		if n := counts[k[0]]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k[1]))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (r *report) finish(label string) {
	for _, line := range r.broken {
		fmt.Fprint(r.out, line)
	}
	fmt.Fprintf(r.out, "== %s: %s\n", label, tally(r.total))
	for _, pkg := range r.failed {
		fmt.Fprintf(r.out, "FAIL in %s\n", pkg)
	}
}

// writeSkips lists the skipped tests with the reason each gave.
func (r *report) writeSkips(w io.Writer, label string) {
	var lines []string
	for _, t := range r.tests {
		if t.action == "skip" {
			lines = append(lines, fmt.Sprintf("  %s %s: %s", t.pkg, t.name, reason(t.output)))
		}
	}
	slices.Sort(lines)
	if len(lines) == 0 {
		fmt.Fprintf(w, "skipped %s: none\n", label)
		return
	}
	fmt.Fprintf(w, "skipped %s:\n%s\n", label, strings.Join(lines, "\n"))
}

// reason is what a test said before it was skipped, on one line.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "--- SKIP") {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}
