package report

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/layerkeep/layerkeep/bench"
)

func pageOf(t testing.TB, r *bench.Report) (text string, root *html.Node) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, HTML(&b, r))
	root, err := html.Parse(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	return b.String(), root
}

func walk(n *html.Node, visit func(*html.Node)) {
	visit(n)
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		walk(c, visit)
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if strings.EqualFold(a.Key, name) {
			return a.Val
		}
	}
	return ""
}

func allReports(t testing.TB) map[string]*bench.Report {
	reports := hostileReports()
	reports["sample"], reports["large"] = sampleReport(t), largeReport()
	return reports
}

func TestAPageNeedsNothingElse(t *testing.T) {
	for name, r := range allReports(t) {
		t.Run(name, func(t *testing.T) {
			_, root := pageOf(t, r)
			walk(root, func(n *html.Node) {
				switch n.Data {
				case "script", "link", "img", "iframe", "object", "use", "image", "foreignObject":
					require.NotEqual(t, html.ElementNode, n.Type, "element %s", n.Data)
				}
				for _, a := range n.Attr {
					require.False(t, strings.HasPrefix(a.Key, "on"), "attribute %s", a.Key)
					if a.Key == "href" || a.Key == "src" {
						require.True(t, strings.HasPrefix(a.Val, "#"), a.Val)
					}
				}
			})
		})
	}
}

func TestIDsAreUniqueAndEveryPlotHasATitleAndItsNumbersInWords(t *testing.T) {
	for name, r := range allReports(t) {
		t.Run(name, func(t *testing.T) {
			_, root := pageOf(t, r)
			byID := map[string]string{}
			walk(root, func(n *html.Node) {
				if id := attribute(n, "id"); id != "" {
					require.NotContains(t, byID, id)
					byID[id] = ""
					if n.FirstChild != nil {
						byID[id] = n.FirstChild.Data
					}
				}
			})
			plots := 0
			walk(root, func(n *html.Node) {
				if attribute(n, "role") != "img" {
					return
				}
				plots++
				ids := strings.Fields(attribute(n, "aria-labelledby"))
				require.Len(t, ids, 2)
				for _, id := range ids {
					require.NotEmpty(t, byID[id], id)
				}
			})
			if name == "sample" || name == "large" {
				require.Greater(t, plots, 10)
			}
		})
	}
}

var coordinate = regexp.MustCompile(`-?[0-9]+(\.[0-9]+)?`)

func TestNothingIsDrawnOutsideOfItsPlot(t *testing.T) {
	for name, r := range allReports(t) {
		t.Run(name, func(t *testing.T) {
			_, root := pageOf(t, r)
			walk(root, func(n *html.Node) {
				for _, a := range n.Attr {
					switch a.Key {
					case "x", "y", "x1", "x2", "y1", "y2", "width", "height", "points", "d", "viewbox", "viewBox":
						require.NotRegexp(t, `(?i)nan|inf|[0-9]e[0-9+-]`, a.Val)
						for _, c := range coordinate.FindAllString(a.Val, -1) {
							v, err := strconv.ParseFloat(c, 64)
							require.NoError(t, err)
							require.True(t, v >= -20 && v < 5000, "%s=%q", a.Key, a.Val)
							if a.Key == "width" || a.Key == "height" {
								require.GreaterOrEqual(t, v, 0.0)
							}
						}
					}
				}
			})
		})
	}
}

func TestTextsOfAReportAreEscaped(t *testing.T) {
	text, _ := pageOf(t, hostileReports()["names"])
	require.NotContains(t, text, "\u202e")
	require.NotContains(t, text, "\x1b")
	require.NotContains(t, text, "<script")
	require.Contains(t, text, "&lt;script&gt;")
}

// textsOf returns the rows of texts of each plot: where each begins and ends.
func TestTextsBesideEachOtherDoNotOverlap(t *testing.T) {
	for name, r := range allReports(t) {
		t.Run(name, func(t *testing.T) {
			p := &page{index: newIndex(r)}
			p.fill()
			for _, s := range p.Suites {
				for _, b := range s.Blocks {
					for _, f := range append([]figure{b.Main}, b.More...) {
						for _, one := range f.Panels {
							requireApart(t, one)
						}
					}
				}
			}
		})
	}
}

func requireApart(t *testing.T, one panel) {
	t.Helper()
	type span struct{ from, to, y float64 }
	var spans []span
	for _, l := range one.Labels {
		w := charWidth * float64(len([]rune(l.Text)))
		from := float64(l.X)
		switch l.Anchor {
		case "middle":
			from -= w / 2
		case "end":
			from -= w
		}
		s := span{from, from + w, float64(l.Y)}
		require.True(t, s.from >= -4 && s.to <= panelWidth+4, "%q of %q", l.Text, one.Title)
		for _, other := range spans {
			apart := s.from >= other.to-1 || other.from >= s.to-1 || s.y-other.y >= 12 || other.y-s.y >= 12
			require.True(t, apart, "%q of %q", l.Text, one.Title)
		}
		spans = append(spans, s)
	}
}

func TestCasesThatDifferInOneNumberAreOneSweep(t *testing.T) {
	var cases []*caseInfo
	for _, name := range []string{"s/size/size=1MiB", "s/size/size=0", "s/size/size=4KiB", "s/chmod/size=1MiB", "s/run/files=1/jobs=1", "s/run/files=9/jobs=1", "s/run/files=1/jobs=2"} {
		r := result(name, "x", bench.Seconds, 1)
		cases = append(cases, &caseInfo{suite: "s", name: name, plain: r.Case, params: r.Params})
	}
	var titles []string
	all := sweeps(cases)
	for _, s := range all {
		titles = append(titles, s.title)
	}
	require.Equal(t, []string{"by size", "chmod size=1MiB", "run jobs=1 by files", "run files=1 jobs=2"}, titles)
	require.Equal(t, []float64{0, 4096, 1 << 20}, all[0].at)
}

func TestALogarithmicAxisHasRoundNumbers(t *testing.T) {
	at := func(lo, hi float64, unit string) (texts []string) {
		for _, tick := range newAxis([]*summary{{unit: unit, median: lo}, {unit: unit, median: hi}}, true).ticks {
			texts = append(texts, tick.text)
		}
		return texts
	}
	require.Equal(t, []string{"10 µs", "100 µs", "1 ms", "10 ms"}, at(10e-6, 8e-3, bench.Seconds))
	require.Equal(t, []string{"20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"}, at(25e-6, 0.9e-3, bench.Seconds))
	require.Equal(t, []string{"1 ms", "2 ms"}, at(1.5e-3, 1.6e-3, bench.Seconds))
	require.Equal(t, []string{"4 KiB", "16 KiB", "64 KiB", "256 KiB", "1 MiB"}, at(5000, 2<<20, bench.Bytes))
	require.LessOrEqual(t, len(at(1e-300, 1e300, bench.Seconds)), mostTicks+1)
	require.Equal(t, []string{"-50", "0", "50", "100"}, at(-20, 100, bench.Inodes))
}
