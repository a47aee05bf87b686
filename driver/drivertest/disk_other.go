//go:build !linux

package drivertest

import "testing"

// freeBytes skips: the backends are Linux's.
func freeBytes(tb testing.TB, _ string) int64 {
	tb.Helper()
	tb.Skip("no backends on this system")
	return 0
}
