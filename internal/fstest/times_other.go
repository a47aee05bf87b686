//go:build !linux

package fstest

import "testing"

// TimesOf is for Linux.
func TimesOf(tb testing.TB, _ string) Times {
	tb.Skip("needs Linux")
	return Times{}
}
