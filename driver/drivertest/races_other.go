//go:build !linux

package drivertest

import "testing"

func (s *suite) testRaces(t *testing.T) { t.Skip("not Linux: nothing is mounted") }
