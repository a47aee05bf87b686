//go:build !linux

package check

func lower() {}
