package report

import (
	"strings"
	"unicode/utf8"
)

// narrowest is the least width of text, in columns.
const narrowest = 40

// A grid is a table of text: a column of labels, one of sample counts, and
// columns of cells.
type grid struct {
	corner string
	heads  []string
	labels []string
	counts []string
	rows   [][]string
}

// write writes the grid, in several parts one below the other if it is wider
// than width.
func (g *grid) write(b *strings.Builder, width int) {
	labels := columnWidth(append([]string{g.corner}, g.labels...), width*2/5)
	counts := columnWidth(append([]string{"n"}, g.counts...), 9)
	for at := 0; at < len(g.heads); {
		left := width - labels - counts - 2
		end := at
		var widths []int
		for end < len(g.heads) {
			w := g.cellWidth(end, width)
			if left < w+2 && end > at {
				break
			}
			w = min(w, left-2)
			widths, left, end = append(widths, w), left-w-2, end+1
		}
		g.part(b, labels, counts, at, widths)
		at = end
	}
}

func (g *grid) cellWidth(column, width int) int {
	texts := headLines(g.heads[column])
	for _, r := range g.rows {
		texts = append(texts, r[column])
	}
	return columnWidth(texts, width/2)
}

func columnWidth(texts []string, most int) int {
	w := 1
	for _, t := range texts {
		w = max(w, utf8.RuneCountInString(t))
	}
	return min(w, most)
}

// headLines breaks the name of a variant before its options.
func headLines(name string) []string {
	driver, options, found := strings.Cut(name, "+")
	if !found {
		return []string{name}
	}
	return []string{driver, "+" + options}
}

// part writes the columns from at on, as many as there are widths.
func (g *grid) part(b *strings.Builder, labels, counts, at int, widths []int) {
	lines := 1
	for i := range widths {
		lines = max(lines, len(headLines(g.heads[at+i])))
	}
	for line := range lines {
		var cells []string
		for i := range widths {
			cells = append(cells, nth(headLines(g.heads[at+i]), line))
		}
		corner, n := "", ""
		if line == 0 {
			corner, n = g.corner, "n"
		}
		writeRow(b, corner, n, cells, labels, counts, widths)
	}
	for r, row := range g.rows {
		writeRow(b, g.labels[r], g.counts[r], row[at:at+len(widths)], labels, counts, widths)
	}
	b.WriteByte('\n')
}

func nth(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

func writeRow(b *strings.Builder, label, count string, cells []string, labels, counts int, widths []int) {
	line := padRight(label, labels) + "  " + padLeft(count, counts)
	for i, c := range cells {
		line += "  " + padLeft(c, widths[i])
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

func padRight(text string, n int) string {
	text = cut(text, n)
	return text + strings.Repeat(" ", max(n-utf8.RuneCountInString(text), 0))
}

func padLeft(text string, n int) string {
	text = cut(text, n)
	return strings.Repeat(" ", max(n-utf8.RuneCountInString(text), 0)) + text
}

// writeParagraph writes words in lines of at most width columns. All lines but
// the first are indented; a word that is too long for a line is cut.
func writeParagraph(b *strings.Builder, text string, width, indent int) {
	column := 0
	for i, word := range strings.Fields(text) {
		word = cut(word, width-indent)
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteByte('\n')
}
