//go:build !linux

package fstest

import "testing"

// CanMount is false: tests mount on Linux only.
func CanMount(testing.TB) bool { return false }

// CanOwn is false: tests own files of others on Linux only.
func CanOwn(testing.TB, string) bool { return false }

// TmpfsKeepsUserXattrs is false: tests mount on Linux only.
func TmpfsKeepsUserXattrs(testing.TB) bool { return false }

// Umask does nothing.
func Umask(testing.TB, int) {}
