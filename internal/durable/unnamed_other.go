//go:build !linux

package durable

// createUnnamed reports false: only Linux has files without a name.
func createUnnamed(string, string) (File, bool) { return nil, false }
