package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape makes text safe for a terminal and for line-by-line reading: what it
// returns has no control characters, no invalid UTF-8 and nothing else that a
// terminal would not show as it is. A backslash becomes \\, a newline \n, a tab
// \t, a carriage return \r, any other byte below 0x80 and any byte that is not
// UTF-8 \xHH, other invisible characters \uHHHH or \UHHHHHHHH. Different texts
// stay different, and Go's, Python's and C's rules for strings undo it.
func escape(text string) string {
	if isPlain(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, width := utf8.DecodeRuneInString(text[i:])
		escapeRune(&b, r, width, text[i])
		i += width
	}
	return b.String()
}

func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

func escapeRune(b *strings.Builder, r rune, width int, first byte) {
	switch {
	case r == '\\':
		b.WriteString(`\\`)
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\t':
		b.WriteString(`\t`)
	case r == '\r':
		b.WriteString(`\r`)
	case r == utf8.RuneError && width == 1, r < utf8.RuneSelf && !unicode.IsPrint(r):
		fmt.Fprintf(b, `\x%02x`, first)
	case unicode.IsPrint(r):
		b.WriteRune(r)
	case r > 0xffff:
		fmt.Fprintf(b, `\U%08x`, r)
	default:
		fmt.Fprintf(b, `\u%04x`, r)
	}
}

// orList joins words as in "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
