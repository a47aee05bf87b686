// Mutate tests the tests: it changes the source of packages in one small place
// at a time, and runs the package's own tests, the short ones first, and last
// those of a backend that let each system call fail. A change that none notices
// has survived.
//
//	mutate [-n COUNT] [-seed SEED] [-least PERCENT] [-explained FILE] PACKAGE...
//
// The changes: an error that is not returned, a condition that is negated, an
// operator that is replaced by its neighbor, true for false. COUNT of them are
// chosen at random for each package; a seed repeats a choice. Nothing in the
// source tree is written to. It exits with 1 when fewer than PERCENT of all
// were noticed; survivors that FILE explains count as noticed.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
)

func main() {
	count := flag.Int("n", 40, "changes for each package; 0 for all")
	seed := flag.Uint64("seed", rand.Uint64N(1<<32), "repeats the choice of a run")
	least := flag.Float64("least", 90, "percent of the changes that have to be noticed")
	explained := flag.String("explained", "scripts/mutate/explained.txt", "survivors that are known, with reasons")
	only := flag.String("only", "", "only changes whose line in the list contains this text")
	flag.Parse()
	ok, err := run(flag.Args(), options{*count, *seed, *least, *explained, *only})
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

type options struct {
	count     int
	seed      uint64
	least     float64
	explained string
	only      string
}

func run(patterns []string, o options) (bool, error) {
	reasons, err := readExplained(o.explained)
	if err != nil {
		return false, err
	}
	packages, err := list(patterns)
	if err != nil {
		return false, err
	}
	fmt.Printf("seed %d\n", o.seed)
	total := tally{}
	for _, p := range packages {
		if err := p.passes(); err != nil {
			return false, err
		}
		chosen, all, err := p.choose(o)
		if err != nil {
			return false, err
		}
		fmt.Printf("%s: %d of %d possible changes\n", p.ImportPath, len(chosen), all)
		t, err := p.try(chosen, reasons)
		if err != nil {
			return false, err
		}
		fmt.Printf("%s: %s\n", p.ImportPath, t)
		total.add(t)
	}
	fmt.Printf("all: %s\n", total)
	return total.percent() >= o.least, nil
}

// choose returns the mutants to try, and how many there are.
func (p goPackage) choose(o options) (chosen []mutant, all int, err error) {
	mutants, err := p.mutants()
	if err != nil {
		return nil, 0, err
	}
	all = len(mutants)
	if o.only != "" {
		mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return !contains(m, o.only) })
	}
	random := rand.New(rand.NewPCG(o.seed, 0)) //nolint:gosec // no secret
	random.Shuffle(len(mutants), func(i, j int) { mutants[i], mutants[j] = mutants[j], mutants[i] })
	if o.count > 0 && len(mutants) > o.count {
		mutants = mutants[:o.count]
	}
	return mutants, all, nil
}
