//go:build !linux

package graphdriver

// mountedBelow returns nothing: layers are mounted on Linux only.
func mountedBelow(string) ([]string, error) { return nil, nil }
