package report

import (
	"strings"

	"github.com/layerkeep/layerkeep/bench"
)

// A leftOut is a reason for which cases of a subject in a place have no result.
type leftOut struct {
	Place, Subject, Reason string
	Cases                  int
}

// leftOuts groups the results that are missing. Reasons that differ only in
// names that are made up for each case, such as a temporary directory, count as
// equal.
func leftOuts(r *bench.Report) []*leftOut {
	type key struct{ place, subject, reason string }
	byKey := map[key]*leftOut{}
	var all []*leftOut
	for _, one := range r.Results {
		reason := one.Skipped
		if reason == "" {
			if len(one.Metrics) > 0 {
				continue
			}
			reason = "nothing was measured"
		}
		reason = shortPaths(reason)
		k := key{one.Place, one.Subject, withoutDigits(reason)}
		if byKey[k] == nil {
			byKey[k] = &leftOut{Place: one.Place, Subject: one.Subject, Reason: reason}
			all = append(all, byKey[k])
		}
		byKey[k].Cases++
	}
	return all
}

// shortPaths leaves only the last name of long paths, as they push what matters
// off the line.
func shortPaths(text string) string {
	words := strings.Split(text, " ")
	for i, w := range words {
		if strings.Count(w, "/") >= 3 && strings.HasPrefix(w, "/") {
			words[i] = "…" + w[strings.LastIndexByte(w, '/'):]
		}
	}
	return strings.Join(words, " ")
}

func withoutDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// A remark is what a case has noted about a result.
type remark struct {
	Place, Subject, Case, Text string
}

func remarks(x *index) []remark {
	var all []remark
	for _, place := range x.places {
		for _, c := range x.cases {
			for _, s := range x.subjects {
				if one := x.cell(place, c, s); one != nil && one.note != "" {
					all = append(all, remark{place, s, c.name, one.note})
				}
			}
		}
	}
	return all
}
