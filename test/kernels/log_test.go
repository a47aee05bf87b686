package kernels

import (
	"bufio"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The ends of a test, as go test -v says them. A test that did not end failed.
const (
	passed  = "PASS"
	failed  = "FAIL"
	skipped = "SKIP"
)

// A result is one test that ran in a suite.
type result struct {
	name    string
	end     string
	seconds float64
	output  []string
	leaf    bool // it has no subtests
}

// A log is what a test binary, or a script that speaks as one, has said.
type log struct {
	results []*result
	golden  map[string]string // what must be the same everywhere: name -> digest
	lines   []string
}

// A run is one program with its arguments.
type run struct {
	suite   string // what the document calls it
	program string // its file in the directory of programs
	args    []string
}

// A suiteLog is what one run said, and how it ended.
type suiteLog struct {
	run
	*log
	status, seconds int
}

var (
	startLine = regexp.MustCompile(`^=== (RUN|NAME|CONT|PAUSE) +(.*)$`)
	endLine   = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (.*) \((\d+\.\d+)s\)$`)
)

// parseLog reads the output of go test -v. What a test prints without a line
// end may stand before a line of the testing package.
func parseLog(r io.Reader) (*log, error) {
	l := &log{golden: map[string]string{}}
	byName := map[string]*result{}
	get := func(name string) *result {
		if byName[name] == nil {
			byName[name] = &result{name: name, end: failed, leaf: true}
			l.results = append(l.results, byName[name])
		}
		return byName[name]
	}
	var current *result
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		line := strings.TrimSuffix(scanner.Text(), "\r")
		l.lines = append(l.lines, line)
		if m := startLine.FindStringSubmatch(line); m != nil {
			current = nil
			if m[1] != "PAUSE" && m[2] != "" {
				current = get(m[2])
			}
		} else if m := endLine.FindStringSubmatch(line); m != nil {
			t := get(m[2])
			t.end = m[1]
			t.seconds, _ = strconv.ParseFloat(m[3], 64)
		} else if f := strings.Fields(line); len(f) == 3 && f[0] == "GOLDEN" {
			l.golden[f[1]] = f[2]
		} else if current != nil {
			current.output = append(current.output, line)
		}
	}
	markParents(l.results, byName)
	return l, scanner.Err()
}

// markParents finds the tests that have subtests. The names of all levels above
// a subtest are parents, whether they ran themselves or not.
func markParents(results []*result, byName map[string]*result) {
	for _, t := range results {
		for name := t.name; strings.Contains(name, "/"); {
			name = name[:strings.LastIndexByte(name, '/')]
			if parent := byName[name]; parent != nil {
				parent.leaf = false
			}
		}
	}
}

// shown are the results that count: the leaves, and what failed by itself.
func (l *log) shown() []*result {
	return slices.DeleteFunc(slices.Clone(l.results), func(t *result) bool {
		return !t.leaf && (t.end != failed || len(t.output) == 0)
	})
}

// tail is the end of what was said, for a suite that failed without a test that
// did: a panic, or a program that could not run.
func (l *log) tail(n int) string {
	return strings.Join(l.lines[max(0, len(l.lines)-n):], "\n")
}

// A count is how many tests ended how, and how long they took.
type count struct {
	passed, failed, skipped int
	seconds                 float64
}

func (c *count) add(t *result) {
	switch t.end {
	case passed:
		c.passed++
	case skipped:
		c.skipped++
	default:
		c.failed++
	}
	c.seconds += t.seconds
}
