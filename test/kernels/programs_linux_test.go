package kernels

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/layerkeep/layerkeep/"

// programs are what runs in an emulated machine: test binaries and snapctl, all
// static, the scripts of guest/ and the images that they use.
type programs struct {
	dir   string
	tests []string // names of packages
}

// build compiles the test binaries of some packages, and snapctl, and writes
// the images.
func build(t *testing.T, packages []string, stacks []int) *programs {
	t.Helper()
	p := &programs{dir: t.TempDir(), tests: packages}
	args := []string{"test", "-c", "-ldflags", "-s -w", "-o", p.dir + "/"}
	for _, pkg := range packages {
		args = append(args, module+pkg)
	}
	p.compile(t, args...)
	p.compile(t, "build", "-trimpath", "-ldflags", "-s -w -X main.version=test", "-o", p.path("snapctl"), module+"cmd/snapctl")
	for _, script := range []string{"smoke", "filesystems"} {
		text, err := os.ReadFile(filepath.Join("guest", script))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(p.path(script), text, 0o755))
	}
	writeImage(t, p.path("golden.tar"), "golden:1", goldenLayers())
	for _, n := range stacks {
		writeImage(t, p.path(fmt.Sprintf("stack-%d.tar", n)), fmt.Sprintf("stack-%d:1", n), stackLayers(n))
	}
	return p
}

func (p *programs) path(name string) string { return filepath.Join(p.dir, name) }

func (p *programs) compile(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "go %v:\n%s", args, out)
}

// files are the images and snapctl, which the programs expect beside them.
func (p *programs) files(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(p.path("*.tar"))
	require.NoError(t, err)
	return append(files, p.path("snapctl"), p.path("smoke"))
}

// slow are the tests of the short suites that are left out in emulated machines
// unless a long run is asked for: each takes half a minute there or more, the
// conformance suites ten and more, or the kernel has no part in what it tests.
var slow = strings.Join([]string{
	"TestConformance", "TestEveryStatement", "TestContainerdSuite", "TenThousandFiles", "RandomEdits", "Gibibyte",
	"FiveHundredLayers", "DeepDirectories", "AnEngineFilled", "AtAnyStep", "KilledProcess",
	"AStoreOnAFullDisk", "ACopyIsTheSameByEveryWay", "DeletionsInAHugeDirectory", "MostOfALargeDirectory", "ALayerFilledToItsLimit",
	"VerifyFinds", "VerifyRefusesTheStreams", "AnyFilesInBranches", "ATranslationShowsWhat", "AChainEndsWhere", "EditedBranches",
	"TestNoErrorOf", "WhatADiskErrorMayHaveHit", "AFullDiskFailsTheCall", "ASearchFinds", "NumberOfWriters", "ATornOrMissingLayer",
	"AnOldLayerGoes", "DeepTreesNeedFewDescriptors", "AsManyLayersAsAUFS", "DamageOfOneLayer", "ManyCallersShare", "TheWorkDoesNotGrow",
	"MoreNamesInOneDirectory", "AHostileAdditionalStore", "AdditionalStoresThat", "NothingGrows", "TheFirstAdditionalOne", "AKillAroundABorrow",
	"ManyCallsBorrow", "AMillionChangedInodes", "LongSymlinksDoNotMultiply",
}, "|")

// slower are further tests that "make test" leaves out in emulated machines,
// where each takes a minute or so. "make test-kernels" runs them.
const slower = "RenamingADirectory|FiveHundredLowers|LongNamesOfManyLayers"

// shortTests are the short suites of the packages, with more arguments.
func (p *programs) shortTests(more ...string) []run {
	var runs []run
	for _, pkg := range p.tests {
		runs = append(runs, run{pkg, pkg + ".test", append([]string{"-test.v", "-test.short", "-test.timeout=3h"}, more...)})
	}
	return runs
}

// busybox is the shell that runs the scripts here too, so that they see the
// same programs everywhere.
var busybox = sync.OnceValues(func() (string, error) { return exec.LookPath("busybox") })
