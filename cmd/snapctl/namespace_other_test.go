//go:build !linux

package main

func enterNamespace() {}

func isHostRoot() bool { return false }
