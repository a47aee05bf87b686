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

// fail notes a package, whose build and whose tests may both report it.
func (r *report) fail(pkg string) {
	pkg, _, _ = strings.Cut(pkg, " ") // "path [path.test]"
	if !slices.Contains(r.failed, pkg) {
		r.failed = append(r.failed, pkg)
	}
}

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
		r.fail(e.ImportPath)
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
	if t == nil || e.Action == "run" && t.action != "" { // with -count a test runs again
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

// endPackage prints go test's own closing line of the package, or everything
// the package said when it failed, and below it the suites.
func (r *report) endPackage(e event, s *pkgState) {
	unfinished := r.unfinished(e.Package)
	if len(unfinished) > 0 {
		e.Action = "fail" // also when the binary said 0: something in it called exit
	}
	if e.Action == "fail" {
		r.fail(e.Package)
	}
	for _, t := range unfinished {
		t.action = "fail"
		s.order = append(s.order, t)
	}
	r.closingLine(e, s)
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

// closingLine prints the closing line; a test binary that was run without go
// test has none, so it gets one of the same form.
func (r *report) closingLine(e event, s *pkgState) {
	closed := false
	for _, line := range s.output {
		closed = closed || closing(line)
		if e.Action == "fail" || closing(line) {
			fmt.Fprint(r.out, line)
		}
	}
	if !closed {
		word := map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "?   "}[e.Action]
		fmt.Fprintf(r.out, "%s\t%s\t%.3fs\n", word, e.Package, e.Elapsed)
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
	for _, pkg := range slices.Sorted(maps.Keys(r.packages)) {
		// What ran it was killed.
		s := r.packages[pkg]
		s.output = append(s.output, fmt.Sprintf("FAIL\t%s\tno end was reported\n", pkg))
		r.endPackage(event{Action: "fail", Package: pkg}, s)
	}
	for _, line := range r.broken {
		fmt.Fprint(r.out, line)
	}
	fmt.Fprintf(r.out, "== %s: %s\n", label, tally(r.total))
	for _, pkg := range r.failed {
		fmt.Fprintf(r.out, "FAIL in %s\n", pkg)
	}
}
