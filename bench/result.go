package bench

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Format is the version of the JSON of a [Report].
const Format = 1

// ErrOtherRun: a run cannot continue an earlier one, because its options, the
// program or the kernel were different.
var ErrOtherRun = errors.New("the earlier run was another one")

// ErrNotReport: a file is not a report of this package.
var ErrNotReport = errors.New("not a report of snapctl bench")

// A Report is the result of one run.
type Report struct {
	// Format is [Format].
	Format int `json:"layerkeep_bench"`
	// Version is the version of the program that measured.
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Seconds is how long the run took. For a resumed run it includes all
	// parts.
	Seconds float64 `json:"seconds"`
	// Complete: no case was left out because the time was over or the run was
	// stopped.
	Complete bool `json:"complete"`
	Quick    bool `json:"quick"`
	// Asked is what the run was asked to measure.
	Asked   Asked   `json:"asked"`
	Machine Machine `json:"machine"`
	// Noise says how steady the machine was.
	Noise    Noise         `json:"noise"`
	Places   []PlaceInfo   `json:"places"`
	Subjects []SubjectInfo `json:"subjects"`
	Results  []Result      `json:"results"`
}

// Asked is what a run was asked to measure, see [Options]. An empty list means
// all.
type Asked struct {
	FileSystems []string `json:"file_systems"`
	DiskSize    int64    `json:"disk_size"`
	Drivers     []string `json:"drivers"`
	Suites      []string `json:"suites"`
	// CaseSeconds is how long the rounds of a case may take in a run without a
	// time limit.
	CaseSeconds float64 `json:"case_seconds"`
}

// A Machine describes the machine of a run.
type Machine struct {
	Kernel string `json:"kernel"`
	// OS is the name of the distribution.
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPU  string `json:"cpu"`
	CPUs int    `json:"cpus"`
	// Memory in bytes.
	Memory int64 `json:"memory"`
	// Virtual: the machine is a guest of another machine, as far as the run can
	// tell.
	Virtual bool `json:"virtual"`
}

// Noise says how steady the machine was. Before each round of each case the run
// repeats one fixed piece of work that uses only the processor.
type Noise struct {
	// Control has the seconds that this work took each time.
	Control []float64 `json:"control"`
	// LoadBefore and LoadAfter are the load average of one minute, as in
	// uptime(1).
	LoadBefore float64 `json:"load_before"`
	LoadAfter  float64 `json:"load_after"`
	// Steal is the share of processor time that the host of a virtual machine
	// took away, from 0 to 1.
	Steal float64 `json:"steal"`
}

// PlaceInfo describes a directory in which the run has measured.
type PlaceInfo struct {
	// Name is the name in results: "ext4", or "scratch" for the directory of
	// the user.
	Name string `json:"name"`
	// FileSystem is the type: "ext4", "xfs", "btrfs", "tmpfs".
	FileSystem string `json:"file_system"`
	// Options are the mount options.
	Options string `json:"options"`
	// Device describes in words what the file system is on.
	Device string `json:"device"`
	// Shared: other programs may write to the same device, so the number of
	// written bytes may be too high.
	Shared bool `json:"shared"`
	// Reflink: files can share blocks here.
	Reflink bool `json:"reflink"`
	// Size and Free are in bytes.
	Size int64 `json:"size"`
	Free int64 `json:"free"`
}

// SubjectInfo describes a [Subject] in a report.
type SubjectInfo struct {
	// Name is the name in results.
	Name string `json:"name"`
	// About is one line on what the subject is.
	About string `json:"about"`
	// VariantOf is the name of the subject whose store this one uses with other
	// mounts. It is empty for a subject with its own store.
	VariantOf string `json:"variant_of"`
	// Copies: each layer is a full copy of its parents, unless files share blocks.
	Copies bool `json:"copies"`
	// Peer: the subject is part of another program.
	Peer bool `json:"peer"`
	// Reference: the subject is only for comparison, nobody should choose it.
	Reference bool `json:"reference"`
	// Bare: the subject has no layers at all. What it takes is the baseline.
	Bare bool `json:"bare"`
}

// A Result is what one case has measured for one subject in one place, or why
// it could not be measured.
type Result struct {
	Suite   string `json:"suite"`
	Case    string `json:"case"`
	Params  Params `json:"params"`
	Place   string `json:"place"`
	Subject string `json:"subject"`
	// Rounds is the number of rounds, without the warm-up.
	Rounds int `json:"rounds"`
	// Seconds is how long a round took on average, including its preparation
	// and cleanup. It is 0 in reports of earlier versions.
	Seconds float64  `json:"seconds"`
	Metrics []Metric `json:"metrics"`
	// Skipped says why there is no result. It is "" when there is one.
	Skipped string `json:"skipped"`
	// Note describes in words what else was observed, for example how a full
	// disk showed.
	Note string `json:"note"`
}

// Name returns the suite, the case and its parameters, joined by slashes:
// "copy-up/size/size=1MiB".
func (r Result) Name() string {
	return strings.Join(append([]string{r.Suite, r.Case}, r.Params.list()...), "/")
}

// Metric returns the metric of a name, nil when there is none.
func (r Result) Metric(name string) *Metric {
	for i := range r.Metrics {
		if r.Metrics[i].Name == name {
			return &r.Metrics[i]
		}
	}
	return nil
}

// Params are the parameters of a case, in order.
type Params []Param

// A Param is one parameter of a case.
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Get returns the value of a parameter, "" when there is none of that name.
func (p Params) Get(name string) string {
	for _, one := range p {
		if one.Name == name {
			return one.Value
		}
	}
	return ""
}

func (p Params) text() string { return strings.Join(p.list(), ", ") }

func (p Params) list() []string {
	var all []string
	for _, one := range p {
		all = append(all, one.Name+"="+one.Value)
	}
	return all
}

// The units of metrics.
const (
	Seconds   = "s"
	Bytes     = "B"
	Inodes    = "inodes"
	Count     = "n"
	Share     = "share" // from 0 to 1
	PerSecond = "/s"
)

// A Metric is one thing that was measured, with every sample.
type Metric struct {
	// Name says what was measured: "first" is the time of the first write,
	// "written" the bytes that reached the device. Each suite says what its
	// metrics mean.
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Samples are in the order in which they were taken, n of them for n
	// operations.
	Samples []float64 `json:"samples"`
}

// Write writes the report as JSON.
func (r *Report) Write(w io.Writer) error {
	return json.NewEncoder(w).Encode(r)
}

// maxReport bounds the JSON of a report, in bytes: a full run with all of its
// samples takes about a tenth of it.
const maxReport = 256 << 20

// Read reads a report that Write wrote, compressed with gzip or not. gzip
// reduces a report to a third. The error matches [ErrNotReport] for anything
// else, for a damaged report, and for a report of a later version.
func Read(from io.Reader) (*Report, error) {
	from, err := inflated(from)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(from, maxReport+1))
	err = brokenPack(err)
	if err != nil {
		return nil, err
	}
	if len(raw) > maxReport {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrNotReport, maxReport)
	}
	r := &Report{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotReport, err)
	}
	switch {
	case r.Format == 0:
		return nil, fmt.Errorf("%w: it has no layerkeep_bench", ErrNotReport)
	case r.Format != Format:
		return nil, fmt.Errorf("%w: it is of format %d, and this program reads %d", ErrNotReport, r.Format, Format)
	}
	return r, nil
}

// inflated returns what gzip has compressed, and anything else as it is.
func inflated(from io.Reader) (io.Reader, error) {
	in := bufio.NewReader(from)
	magic, err := in.Peek(2)
	if err != nil || !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return in, nil // whatever is wrong shows when it is read
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, brokenPack(err)
	}
	return z, nil
}

// brokenPack makes an error of what was compressed, not of reading it, one that
// matches [ErrNotReport].
func brokenPack(err error) error {
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", ErrNotReport, err)
	}
	return err
}
