//go:build !linux

package drivertest

import "testing"

// RunFaults needs Linux.
func RunFaults(t *testing.T, _ Config) { t.Skip("letting system calls fail needs Linux") }
