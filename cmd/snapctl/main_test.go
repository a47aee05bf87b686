package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/layerkeep/layerkeep/internal/testrun"
)

// TestMain lets the scripts run this test binary as snapctl. A user who may not
// mount gets a user namespace first, where the machine allows one: there nearly
// all of the tests can run that root could run.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "snapctl" {
		enterNamespace()
	}
	testscript.Main(testrun.Tests{M: m}, map[string]func(){"snapctl": func() {
		code := mainCode()
		tellPeak()
		os.Exit(code)
	}})
}
