package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// shownNames is how many tests skipped for one reason are named.
const shownNames = 4

// writeSkips lists the skipped tests by package and by the reason they gave.
func (r *report) writeSkips(w io.Writer, label string) {
	skipped := map[string][]string{} // "package\n  reason" -> tests
	for _, t := range r.tests {
		if t.action == "skip" {
			key := t.pkg + "\n    " + reason(t.output)
			skipped[key] = append(skipped[key], t.name)
		}
	}
	if len(skipped) == 0 {
		fmt.Fprintf(w, "skipped %s: none\n", label)
		return
	}
	fmt.Fprintf(w, "skipped %s: %d\n", label, r.total["skip"])
	for _, key := range slices.Sorted(maps.Keys(skipped)) {
		names := skipped[key]
		slices.Sort(names)
		more := ""
		if n := len(names) - shownNames; n > 1 {
			names, more = names[:shownNames], fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(w, "  %s: %s%s\n", key, strings.Join(names, ", "), more)
	}
}

var (
	// position matches what the testing package puts before a message.
	position = regexp.MustCompile(`^[\w.-]+\.go:\d+: `)
	// temporary matches a path that is another one in every test.
	temporary = regexp.MustCompile(`/(tmp|dev/shm)/[^\s:,]+`)
)

// reason is what a test said before it was skipped, on one line.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "--- SKIP") {
			line = position.ReplaceAllString(line, "")
			words = append(words, temporary.ReplaceAllString(line, "/$1/…"))
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}
