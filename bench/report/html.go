package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"sync"

	"github.com/layerkeep/layerkeep/bench"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle string

// pageTemplate is parsed once, by the first page. The style is part of this
// package, so it needs no escaping.
var pageTemplate = sync.OnceValue(func() *template.Template {
	style := func() template.CSS { return template.CSS(pageStyle) } //nolint:gosec // not from a report
	return template.Must(template.New("page").Funcs(template.FuncMap{"style": style}).Parse(pageSource))
})

// HTML writes a report as one page that needs nothing else: no script, no font
// and nothing from the network. It begins with the verdict. Each plot has its
// numbers in words for screen readers, and in a table beside it.
func HTML(w io.Writer, r *bench.Report) error {
	p := &page{index: newIndex(r)}
	p.fill()
	return pageTemplate().Execute(w, p)
}

// A page is what the template shows.
type page struct {
	*index
	panels int            // how many there are, for their IDs
	styles map[string]int // numbers of subjects for colors and shapes

	Title    string
	Facts    []fact
	About    []fact // what each subject is
	Verdicts []placeVerdict
	Suites   []suiteSection
	Steady   *panel
	LeftOuts []*leftOut
	Remarks  []remark
}

type fact struct{ Name, Text string }

type suiteSection struct {
	Name, ID string
	Blocks   []block
}

// A placeVerdict has the advice for one place.
type placeVerdict struct {
	Place, About, InShort string
	Works                 []workVerdict
}

type workVerdict struct {
	Advice
	Chips []chip
	Rest  string // of the sentence, without the lead
}

// A chip shows how a subject did.
type chip struct {
	Mark  mark
	Name  string
	Text  string
	Class string
}

func (p *page) fill() {
	r := p.report
	p.Title = "Layerkeep benchmark"
	if r.Machine.CPU != "" {
		p.Title += " on " + r.Machine.CPU
	}
	p.Facts = []fact{
		{"Run", runLine(r)}, {"Machine", machineLine(r.Machine)}, {"System", systemLine(r.Machine)},
		{"Noise", noiseLine(r.Noise)},
	}
	for _, one := range r.Places {
		p.Facts = append(p.Facts, fact{one.Name, placeLine(one)})
	}
	for _, s := range p.subjects {
		if about := p.kinds[s].About; about != "" {
			p.About = append(p.About, fact{s, about})
		}
	}
	p.verdicts()
	for i, s := range p.suites {
		if blocks := p.blocks(s); len(blocks) > 0 {
			p.Suites = append(p.Suites, suiteSection{Name: s, ID: fmt.Sprintf("suite-%d", i+1), Blocks: blocks})
		}
	}
	p.Steady = p.steady(r.Noise.Control)
	p.LeftOuts, p.Remarks = leftOuts(r), remarks(p.index)
}

func (p *page) verdicts() {
	for _, a := range verdictOf(p.index) {
		if a.Work == workOverall {
			p.Verdicts = append(p.Verdicts, placeVerdict{Place: a.Place, About: p.aboutPlace(a.Place), InShort: sentenceCase(a.Sentence)})
			continue
		}
		v := &p.Verdicts[len(p.Verdicts)-1]
		v.Works = append(v.Works, workVerdict{Advice: a, Chips: p.chips(a), Rest: a.Sentence[len(a.Lead):]})
	}
}

func (p *page) aboutPlace(name string) string {
	for _, one := range p.report.Places {
		if one.Name == name {
			return one.Device
		}
	}
	return ""
}

// chips shows the subjects of an advice, the winner first and then from the
// best to the worst. Variants that are no option are left out.
func (p *page) chips(a Advice) []chip {
	var all []chip
	order := slices.Clone(a.Standings)
	slices.SortStableFunc(order, func(x, y Standing) int { return cmp.Compare(winnerFirst(a, x), winnerFirst(a, y)) })
	for _, s := range order {
		c := chip{Mark: p.mark(s.Subject, 8, 8), Name: s.Subject, Text: timesText(s.Times)}
		isOption := slices.ContainsFunc(a.Options, func(o Option) bool { return o.Subject == s.Subject })
		switch {
		case s.Subject == a.Winner:
			c.Text, c.Class = "best choice", "winner"
			if a.isGuess() {
				c.Text, c.Class = "a guess: too few samples", ""
			}
		case s.TooFew && !p.kinds.isVariant(s.Subject):
			c.Text = "too few samples"
		case slices.Contains(a.Equal, s.Subject):
			c.Text, c.Class = "equal", "winner"
		case isOption:
			c.Text, c.Class = c.Text+" at a price", "option"
		case p.kinds.isVariant(s.Subject):
			continue
		case !s.Differs:
			c.Text = "no difference beyond the noise"
		}
		all = append(all, c)
	}
	return all
}

func winnerFirst(a Advice, s Standing) int {
	if s.Subject == a.Winner {
		return 0
	}
	return 1
}

// timesText is "2.06×", or "1/34.5" where that is less than 1.
func timesText(times float64) string {
	if times < 0.995 {
		return "1/" + digits(1/times)
	}
	return digits(times) + "×"
}

func sentenceCase(text string) string {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return text
	}
	for _, word := range []string{"choose ", "it depends"} {
		if len(text) >= len(word) && text[:len(word)] == word {
			return string(text[0]-'a'+'A') + text[1:]
		}
	}
	return text // it begins with the name of a driver
}

// steady plots how long the control work took over the run, nil without any.
func (p *page) steady(control []float64) *panel {
	all := summarize(bench.Metric{Samples: control, Unit: bench.Seconds}, 0)
	if all == nil || all.n() < 2 {
		return nil
	}
	const left, right, top, bottom, most = 62.0, 348.0, 10.0, 120.0, 140
	var parts []*summary
	size := (all.n() + most - 1) / most
	for part := range slices.Chunk(all.samples, size) {
		parts = append(parts, &summary{unit: bench.Seconds, samples: part, median: medianOf(part)})
	}
	value := newAxis(parts, false)
	out := p.newPanel("", "Time of the control work during the run", bottom+30)
	out.verticalAxis(value, left, right, top, bottom)
	out.Labels = append(out.Labels, label{px((left + right) / 2), px(bottom + 20), "middle", "axis", "from the beginning of the run to its end"})
	var line polyline
	for i, s := range parts {
		x := px(left + (right-left)*float64(i)/float64(max(len(parts)-1, 1)))
		line.Points += x.String() + "," + px(bottom-(bottom-top)*value.at(s.median)).String() + " "
	}
	line.Class = "control"
	out.Lines = []polyline{line}
	out.Desc = noiseLine(p.report.Noise)
	return &out
}
