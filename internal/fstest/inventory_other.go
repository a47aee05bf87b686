//go:build !linux

package fstest

import "testing"

// Inventory needs Linux.
func Inventory(tb testing.TB, _ string) map[string]string {
	tb.Helper()
	tb.Skip("an inventory of a directory needs Linux")
	return nil
}
