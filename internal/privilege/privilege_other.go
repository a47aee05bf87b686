//go:build !linux

package privilege

// GiveUp does nothing: there are no capabilities here.
func GiveUp() error { return nil }
