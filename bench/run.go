package bench

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrUnknown: no suite, driver or file system has the given name.
var ErrUnknown = errors.New("unknown name")

// Options say what [Run] measures.
type Options struct {
	// Scratch is an existing directory. The run makes all its files in it.
	Scratch string
	// FileSystems are the file systems to make, each on a disk in a file in
	// Scratch, see [disk.FileSystems]. Empty: the run measures in Scratch
	// itself.
	FileSystems []string
	// DiskSize is the size of these disks, in bytes; 0 for a size that fits all
	// cases.
	DiskSize int64
	// Subjects are the subjects to measure; nil for those of [Subjects].
	Subjects []*Subject
	// Drivers and Suites choose subjects and suites by name; nil for all. A
	// driver includes its variants. The bare file system is always included.
	Drivers, Suites []string
	// Quick leaves out what takes long, so that the run ends within two
	// minutes.
	Quick bool
	// Time is the time limit of the run. Cases that do not fit into it are left
	// out. 0: 100 seconds for a quick run, no limit otherwise.
	Time time.Duration
	// CaseTime is how long the rounds of a case may take in a run without a
	// time limit, unless the smallest number of rounds for a result takes
	// longer. 0: 20 seconds.
	CaseTime time.Duration
	// Before is the report of an earlier run that did not end. The cases in it
	// are not measured again. Run returns [ErrOtherRun] when the options, the
	// program or the kernel of that run were different.
	Before *Report
	// Version of the program, for the report.
	Version string
	// Save, unless nil, is called after each case with everything measured so
	// far.
	Save func(*Report) error
	// Progress, unless nil, is called before each case and each round.
	Progress func(Progress)
}

// Progress says what is being measured now.
type Progress struct {
	// Done and Total count cases, once for each place.
	Done, Total int
	// What is the current case: "ext4 copy-up/append/size=1MiB".
	What string
	// Round counts from 0, which is the warm-up.
	Round int
	// Left is an estimate of the remaining time, 0 when there is none yet.
	Left time.Duration
}

const (
	quickTime = 100 * time.Second
	caseTime  = 20 * time.Second
	quickDisk = 3 << 30
	fullDisk  = 24 << 30
)

// suites returns the suites that are asked for, without cases that are not.
func (o Options) suites() ([]Suite, error) {
	var chosen []Suite
	for _, s := range Suites() {
		if len(o.Suites) > 0 && !slices.Contains(o.Suites, s.Name) {
			continue
		}
		if o.Quick {
			s.Cases = slices.DeleteFunc(slices.Clone(s.Cases), func(c Case) bool { return !c.Quick })
		}
		chosen = append(chosen, s)
	}
	for _, name := range o.Suites {
		if !slices.ContainsFunc(chosen, func(s Suite) bool { return s.Name == name }) {
			return nil, fmt.Errorf("%w: no suite is called %q; choose %s", ErrUnknown, name, strings.Join(SuiteNames(), ", "))
		}
	}
	return chosen, nil
}

// SuiteNames returns the names of [Suites], in that order.
func SuiteNames() []string {
	var names []string
	for _, s := range Suites() {
		names = append(names, s.Name)
	}
	return names
}

// subjects returns the subjects that are asked for.
func (o Options) subjects() ([]*Subject, error) {
	all := o.Subjects
	if all == nil {
		all = Subjects()
	}
	if len(o.Drivers) == 0 {
		return slices.DeleteFunc(slices.Clone(all), func(s *Subject) bool { return o.Quick && s.Thorough }), nil
	}
	var chosen []*Subject
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
		if s.Reference || slices.Contains(o.Drivers, s.Name) || slices.Contains(o.Drivers, s.Store) {
			chosen = append(chosen, s)
		}
	}
	for _, name := range o.Drivers {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("%w: nothing called %q can be measured; choose among %s", ErrUnknown, name, strings.Join(names, ", "))
		}
	}
	// A variant needs the store of its driver, also where that was not asked for.
	for _, s := range slices.Clone(chosen) {
		if s.Store == "" || slices.ContainsFunc(chosen, func(c *Subject) bool { return c.Name == s.Store }) {
			continue
		}
		if i := slices.IndexFunc(all, func(c *Subject) bool { return c.Name == s.Store }); i >= 0 {
			chosen = append([]*Subject{all[i]}, chosen...)
		}
	}
	return chosen, nil
}

// places are the names of what is measured on.
func (o Options) places() []string {
	if len(o.FileSystems) == 0 {
		return []string{"scratch"}
	}
	return o.FileSystems
}

func (o Options) diskSize() int64 {
	switch {
	case o.DiskSize > 0:
		return o.DiskSize
	case o.Quick:
		return quickDisk
	}
	return fullDisk
}

func (o Options) caseTime() time.Duration { return cmp.Or(o.CaseTime, caseTime) }

func (o Options) time() time.Duration {
	if o.Time == 0 && o.Quick {
		return quickTime
	}
	return o.Time
}

// asked is what the report says of the options. Lists are never nil.
func (o Options) asked() Asked {
	list := func(names []string) []string { return append([]string{}, names...) }
	return Asked{FileSystems: list(o.FileSystems), DiskSize: o.diskSize(), Drivers: list(o.Drivers), Suites: list(o.Suites), CaseSeconds: o.caseTime().Seconds()}
}

// goesOn returns an error if a run with these options cannot go on from
// another.
func (o Options) goesOn(before *Report, here Machine) error {
	asked, now := before.Asked, o.asked()
	switch {
	case before.Quick != o.Quick, asked.DiskSize != now.DiskSize, !slices.Equal(asked.FileSystems, now.FileSystems),
		!slices.Equal(asked.Drivers, now.Drivers), !slices.Equal(asked.Suites, now.Suites):
		return fmt.Errorf("%w: it was to measure something else", ErrOtherRun)
	case before.Version != o.Version:
		return fmt.Errorf("%w: it was made by version %s, this is %s", ErrOtherRun, before.Version, o.Version)
	case before.Machine != here:
		return fmt.Errorf("%w: it was made on another machine or kernel", ErrOtherRun)
	}
	return nil
}
