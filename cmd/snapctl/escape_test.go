package main

import (
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEscapeShowsWhatATerminalWouldNot(t *testing.T) {
	for text, want := range map[string]string{
		"/etc/passwd": "/etc/passwd",
		"a b":         "a b",
		"ünïcödé":     "ünïcödé",
		"a\nb":        `a\nb`,
		"a\tb\r":      `a\tb\r`,
		`a\nb`:        `a\\nb`,
		"\x1b[31m":    `\x1b[31m`,
		"\x00\x7f":    `\x00\x7f`,
		"\xff\xfe":    `\xff\xfe`,
		"\u202e":      `\u202e`,
		"\u0085":      `\u0085`,
		"\u00a0":      `\u00a0`,
		"\ufffd":      "\ufffd",
		"\U000e0001":  `\U000e0001`,
		`"quoted"`:    `"quoted"`,
	} {
		require.Equal(t, want, escape(text))
	}
}

func TestEscapedTextIsPrintableAndCanBeUndone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) + rapid.String().Draw(t, "text")
		escaped := escape(text)
		for _, r := range escaped {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q holds %U", escaped, r)
			}
		}
		undone, err := strconv.Unquote(`"` + strings.ReplaceAll(escaped, `"`, `\"`) + `"`)
		if err != nil || undone != text {
			t.Fatalf("%q became %q, which is %q (%v)", text, escaped, undone, err)
		}
	})
}
