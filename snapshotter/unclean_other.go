//go:build !linux

package snapshotter

func isUnclean(error) bool { return false }
