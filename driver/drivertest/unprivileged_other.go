//go:build !linux

package drivertest

import "testing"

// RunUnprivileged skips: user namespaces are Linux's.
func RunUnprivileged(t *testing.T, _ Config) { t.Skip("no user namespaces on this system") }
