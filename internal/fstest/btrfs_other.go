//go:build !linux

package fstest

import "testing"

// BindSubdirectory skips the test: file systems are mounted on Linux only.
func BindSubdirectory(tb testing.TB, _ string) string { return needsLinux(tb) }

// BindSubvolume skips the test: btrfs is Linux's.
func BindSubvolume(tb testing.TB, _ string) string { return needsLinux(tb) }

// SimpleQuotas skips the test: btrfs is Linux's.
func SimpleQuotas(tb testing.TB, _ string) string { return needsLinux(tb) }

// Qgroups skips the test: btrfs is Linux's.
func Qgroups(tb testing.TB, _ string) string { return needsLinux(tb) }

func needsLinux(tb testing.TB) string {
	tb.Helper()
	tb.Skip("needs Linux")
	return ""
}
