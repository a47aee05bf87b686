//go:build !linux

package fstest

import "testing"

// Elsewhere skips the test: mount namespaces are of Linux only.
func Elsewhere(t *testing.T, script string) (pid int, end func()) {
	t.Helper()
	t.Skip("there are no mount namespaces here")
	return 0, nil
}
