//go:build !linux

package drivertest

import "testing"

func (s *suite) closedOnExec(t *testing.T) { t.Skip("not Linux: descriptors are looked at in /proc") }
