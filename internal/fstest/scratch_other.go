//go:build !linux

package fstest

import "testing"

// Scratch skips the test: scratch file systems are made on Linux only.
func Scratch(tb testing.TB, fs FS) string {
	tb.Helper()
	return ScratchSize(tb, fs, defaultMiB)
}

// ScratchSize skips the test: scratch file systems are made on Linux only.
func ScratchSize(tb testing.TB, fs FS, _ int) string {
	tb.Helper()
	tb.Skipf("no %s scratch file systems on this system", fs)
	return ""
}
