//go:build !linux

package fstest

import "testing"

// Quick skips the test: scratch file systems are made on Linux only.
func Quick(tb testing.TB) string { return Scratch(tb, Tmpfs) }
