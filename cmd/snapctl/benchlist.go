package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/bench"
)

const benchListLong = `List the suites of 'snapctl bench' and their cases. One line says what each case shows.
Cases with a star are part of a --quick run.`

func newBenchListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the suites and cases that can be measured",
		Long:  benchListLong,
		Args:  exactArgs(0),
		RunE:  func(*cobra.Command, []string) error { return runBenchList(a) },
	}
}

type benchListResult struct {
	Suites []benchSuiteJSON `json:"suites"`
}

type benchSuiteJSON struct {
	Name  string          `json:"name"`
	About string          `json:"about"`
	Cases []benchCaseJSON `json:"cases"`
}

type benchCaseJSON struct {
	Name   string       `json:"name"`
	Params bench.Params `json:"params"`
	About  string       `json:"about"`
	Quick  bool         `json:"quick"`
}

func runBenchList(a *app) error {
	result := benchListResult{Suites: []benchSuiteJSON{}}
	for _, s := range bench.Suites() {
		suite := benchSuiteJSON{Name: s.Name, About: s.About, Cases: []benchCaseJSON{}}
		for _, c := range s.Cases {
			suite.Cases = append(suite.Cases, benchCaseJSON{Name: c.Name, Params: append(bench.Params{}, c.Params...), About: c.About, Quick: c.Quick})
		}
		result.Suites = append(result.Suites, suite)
	}
	return a.result(result, result.print)
}

// print lists each case once, with the values of its parameters side by side.
func (r benchListResult) print(w io.Writer) error {
	for i, s := range r.Suites {
		space := "\n"
		if i == 0 {
			space = ""
		}
		if _, err := fmt.Fprintf(w, "%s%s: %s\n", space, s.Name, s.About); err != nil {
			return err
		}
		for _, c := range groupCases(s.Cases) {
			if _, err := fmt.Fprintf(w, "  %s\n      %s\n", c.heading, c.about); err != nil {
				return err
			}
		}
	}
	return nil
}

type benchCaseLine struct{ heading, about string }

// groupCases joins cases that differ in their parameters alone.
func groupCases(cases []benchCaseJSON) []benchCaseLine {
	var lines []benchCaseLine
	for len(cases) > 0 {
		first := cases[0]
		n := slices.IndexFunc(cases, func(c benchCaseJSON) bool { return c.Name != first.Name || c.About != first.About })
		if n < 0 {
			n = len(cases)
		}
		heading := first.Name
		var values []string
		for _, c := range cases[:n] {
			if text := paramText(c.Params, c.Quick); text != "" {
				values = append(values, text)
			}
		}
		if len(values) > 0 {
			heading += ": " + strings.Join(values, ", ")
		} else if first.Quick {
			heading += " *"
		}
		lines = append(lines, benchCaseLine{heading, first.About})
		cases = cases[n:]
	}
	return lines
}

func paramText(params bench.Params, quick bool) string {
	var all []string
	for _, p := range params {
		all = append(all, p.Name+"="+p.Value)
	}
	text := strings.Join(all, " ")
	if quick && text != "" {
		text += "*"
	}
	return text
}
