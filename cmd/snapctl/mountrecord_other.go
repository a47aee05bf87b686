//go:build !linux

package main

// Without mounts there is nothing to record: runMount fails before.

func place() (mountPlace, error) { return mountPlace{}, nil }

func mountID(string) (int, error) { return 0, nil }

func syncMount(string) error { return nil }

func (mountRecord) state() (mountState, error) { return mountGone, nil }

func readOnlyMountAt(string) (*tableEntry, error) { return nil, nil }
