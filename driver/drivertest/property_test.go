package drivertest_test

import (
	"testing"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/drivertest"
)

// TestRandomStacksAreTheSameEverywhere compares all backends with the model and
// with each other; see [drivertest.RunProperties]. For a long run:
//
//	LAYERKEEP_PROPERTY_CHECKS=10000 go test ./driver/drivertest -timeout 2h
func TestRandomStacksAreTheSameEverywhere(t *testing.T) {
	drivertest.RunProperties(t, subjects(driver.Options{}))
}

// The same with every fast path forced off, and with metacopy.
func TestRandomStacksAreTheSameWithoutFastPaths(t *testing.T) {
	drivertest.RunProperties(t, subjects(driver.Options{Fallbacks: driver.Fallbacks{
		NoOpenat2: true, NoMountAPI: true, NoReflink: true, NoCopyRange: true, UserXattr: true, SingleThread: true,
		NoFchmodat2: true, NoMetadataOpt: true,
	}}))
}

func TestRandomStacksAreTheSameWithMetacopy(t *testing.T) {
	drivertest.RunProperties(t, subjects(driver.Options{Metacopy: true}))
}

// Each backend by itself: where it breaks hard links, so may the edits.
func TestRandomStacksAreTheSameOnEachBackendAlone(t *testing.T) {
	for _, s := range append(subjects(driver.Options{}), subjects(driver.Options{Metacopy: true})[0]) {
		t.Run(s.Name, func(t *testing.T) { drivertest.RunProperties(t, []drivertest.Subject{s}) })
	}
}

func subjects(opts driver.Options) []drivertest.Subject {
	var subjects []drivertest.Subject
	for _, b := range all.Backends() {
		subjects = append(subjects, drivertest.Subject{Name: b.Name, Config: drivertest.Config{New: b.New, Options: opts}})
	}
	return subjects
}
