package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// needsRoot skips a test that measures where that is not possible.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 || !fstest.CanMount(t) {
		t.Skip("needs root: it measures")
	}
}

// shortRun are options of a short run that needs no disk.
func shortRun(t *testing.T, suite string, drivers ...string) Options {
	t.Helper()
	needsRoot(t)
	return Options{Scratch: t.TempDir(), FileSystems: []string{disk.Tmpfs}, Drivers: drivers, Suites: []string{suite}, Quick: true, Time: time.Hour}
}

func TestARunMeasuresEachCaseForEachSubject(t *testing.T) {
	o := shortRun(t, inodeSuiteName, "vfs", "overlay2")
	var told []Progress
	o.Progress = func(p Progress) { told = append(told, p) }
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.True(t, r.Complete)
	require.Positive(t, r.Seconds)
	fstest.RequireNothingIn(t, o.Scratch)
	suites, err := o.suites()
	require.NoError(t, err)
	for _, c := range suites[0].Cases {
		for _, subject := range []string{"vfs", "overlay2", "bare", "hardlinks"} {
			i := slices.IndexFunc(r.Results, func(r Result) bool {
				return r.Case == c.Name && r.Subject == subject && slices.Equal(r.Params, c.Params)
			})
			require.GreaterOrEqual(t, i, 0, "%s %s", c.Name, subject)
			got := r.Results[i]
			require.NotEqual(t, got.Skipped == "", len(got.Metrics) == 0, "%+v", got)
			require.Equal(t, got.Skipped == "", got.Rounds > 0, "%+v", got)
		}
	}
	require.NotEmpty(t, told)
	require.Equal(t, len(suites[0].Cases), told[0].Total)
	require.Equal(t, told[0].Total-1, told[len(told)-1].Done)

	var text bytes.Buffer
	require.NoError(t, r.Write(&text))
	again, err := Read(&text)
	require.NoError(t, err)
	require.Equal(t, r, again)
}

// Each suite and each place has something, also where the time does not suffice
// for all.
func TestARunWithoutEnoughTimeSaysThatItIsNotComplete(t *testing.T) {
	o := shortRun(t, inodeSuiteName, "vfs")
	o.Suites = nil
	o.Time = time.Nanosecond
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.False(t, r.Complete)
	require.Empty(t, r.Results)
	fstest.RequireNothingIn(t, o.Scratch)
}

// A run that was stopped goes on where it was, and measures nothing twice.
func TestARunGoesOnWhereItWasStopped(t *testing.T) {
	o := shortRun(t, inodeSuiteName, "vfs")
	ctx, cancel := context.WithCancel(t.Context())
	var kept bytes.Buffer
	saved := 0
	o.Save = func(r *Report) error {
		kept.Reset()
		if saved++; saved == 2 {
			cancel()
		}
		return r.Write(&kept)
	}
	_, err := Run(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	fstest.RequireNothingIn(t, o.Scratch)
	require.Equal(t, 2, saved)

	before, err := Read(bytes.NewReader(kept.Bytes()))
	require.NoError(t, err)
	done := slices.Clone(before.Results)
	o.Before, o.Save = before, nil
	var first *Progress
	o.Progress = func(p Progress) {
		if first == nil {
			first = &p
		}
	}
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.True(t, r.Complete)
	require.Equal(t, done, r.Results[:len(done)])
	suites, err := o.suites()
	require.NoError(t, err)
	require.Equal(t, len(suites[0].Cases)-2, first.Total)
	seen := map[string]bool{}
	for _, result := range r.Results {
		name := result.Name() + result.Subject
		require.False(t, seen[name], name)
		seen[name] = true
	}

	for what, change := range map[string]func(*Report){
		"something else": func(r *Report) { r.Asked.Suites = nil },
		"version":        func(r *Report) { r.Version = "other" },
		"machine":        func(r *Report) { r.Machine.Kernel = "other" },
	} {
		before, err := Read(bytes.NewReader(kept.Bytes()))
		require.NoError(t, err)
		change(before)
		o.Before = before
		_, err = Run(t.Context(), o)
		require.ErrorIs(t, err, ErrOtherRun)
		require.ErrorContains(t, err, what)
	}
}

func TestWhatIsAskedForHasToExist(t *testing.T) {
	for want, o := range map[string]Options{
		`no suite is called "x"`: {Suites: []string{"x"}},
		`nothing called "x"`:     {Drivers: []string{"x"}},
		`no disk of "x"`:         {FileSystems: []string{"x"}},
	} {
		_, err := Run(t.Context(), o)
		require.ErrorIs(t, err, ErrUnknown)
		require.ErrorContains(t, err, want)
	}
	if os.Geteuid() != 0 {
		_, err := Run(t.Context(), Options{Scratch: t.TempDir()})
		require.ErrorIs(t, err, driver.ErrUnsupported)
	}
}

func TestNamesChooseSubjects(t *testing.T) {
	names := func(drivers ...string) (all []string) {
		chosen, err := Options{Drivers: drivers}.subjects()
		require.NoError(t, err)
		for _, s := range chosen {
			all = append(all, s.Name)
		}
		return all
	}
	require.Equal(t, []string{"vfs", "bare", "hardlinks"}, names("vfs"))
	require.Contains(t, names("overlay2"), "overlay2+metacopy")
	require.Equal(t, []string{"overlay2", "overlay2+volatile", "bare", "hardlinks"}, names("overlay2+volatile"), "with the store that it needs")
	seen := map[string]bool{}
	for _, s := range Subjects() {
		require.False(t, seen[s.Name])
		require.True(t, s.Store == "" || seen[s.Store], "a variant comes after its driver")
		require.Equal(t, s.Store == "", s.Open != nil)
		seen[s.Name] = true
	}
}

// Names of cases are keys of results, and each says what it shows.
func TestCasesAreToldApart(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Suites() {
		require.NotEmpty(t, s.About)
		quick := 0
		for _, c := range s.Cases {
			name := Result{Suite: s.Name, Case: c.Name, Params: c.Params}.Name()
			require.False(t, seen[name], name)
			seen[name] = true
			require.NotEmpty(t, c.About, name)
			require.False(t, strings.ContainsAny(name, " \t\n"), name)
			if c.Quick {
				quick++
			}
		}
		require.Positive(t, quick, s.Name)
	}
}

func TestWhatIsNoReportIsRefused(t *testing.T) {
	for _, text := range []string{"", "{", "[]", "null", `{"a":1}`, `{"layerkeep_bench":2}`, `{"layerkeep_bench":"1"}`} {
		_, err := Read(strings.NewReader(text))
		require.ErrorIs(t, err, ErrNotReport, text)
	}
	boom := errors.New("boom")
	_, err := Read(failing{boom})
	require.ErrorIs(t, err, boom)
}

func TestACompressedReportIsRead(t *testing.T) {
	want := &Report{Format: Format, Version: "v1", Results: []Result{{Case: "size", Metrics: []Metric{{"first", Seconds, []float64{1, 2}}}}}}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	require.NoError(t, want.Write(z))
	require.NoError(t, z.Close())
	got, err := Read(bytes.NewReader(packed.Bytes()))
	require.NoError(t, err)
	require.Equal(t, want.Version, got.Version)
	require.Equal(t, want.Results[0].Metrics, got.Results[0].Metrics)
	for cut := 2; cut < packed.Len(); cut += 7 {
		_, err := Read(bytes.NewReader(packed.Bytes()[:cut]))
		require.ErrorIs(t, err, ErrNotReport, "the first %d bytes", cut)
	}
	for at := 10; at < packed.Len(); at++ { // after the header, in which a time may be any
		broken := bytes.Clone(packed.Bytes())
		broken[at] ^= 0xff
		_, err := Read(bytes.NewReader(broken))
		require.ErrorIs(t, err, ErrNotReport, "byte %d", at)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A round that would take an hour keeps everybody waiting for a number that
// nobody needs.
func TestACaseThatWouldTakeTooLongSaysSo(t *testing.T) {
	small := Case{Name: "append", Params: Params{{"containers", "10"}}, Times: 10}
	large := Case{Name: "append", Params: Params{{"containers", "100"}}, Times: 100}
	other := Case{Name: "else", Params: Params{{"containers", "100"}}, Times: 100}
	s := Suite{Name: "workloads", Cases: []Case{small, large, other}}
	took := func(seconds float64) *run {
		have := Result{Suite: s.Name, Case: small.Name, Params: small.Params, Place: "ext4", Subject: "vfs", Seconds: seconds}
		return &run{report: &Report{Results: []Result{have}}}
	}
	one := Result{Place: "ext4", Subject: "vfs"}
	require.Equal(t, "it would take 15m0s: containers=10 took 1m30s, and at most 10m0s are spent on a round of one subject", took(90).tooLong(one, s, large))
	require.Empty(t, took(59).tooLong(one, s, large))
	require.Empty(t, took(0).tooLong(one, s, large), "not known, as in an earlier version")
	require.Empty(t, took(90).tooLong(one, s, small))
	require.Empty(t, took(90).tooLong(one, s, other))
	require.Empty(t, took(90).tooLong(Result{Place: "xfs", Subject: "vfs"}, s, large))
	require.Empty(t, took(90).tooLong(Result{Place: "ext4", Subject: "bare"}, s, large))
	cases := 0
	for _, s := range Suites() {
		for _, c := range s.Cases {
			if c.Times > 0 {
				cases++
			}
		}
	}
	require.Positive(t, cases)
}
