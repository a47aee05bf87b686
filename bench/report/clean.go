package report

import (
	"slices"

	"github.com/layerkeep/layerkeep/bench"
)

// cleaned is a copy of a report whose texts are safe to show: each is one line
// of printable characters, so that none can move a cursor or turn the direction
// of what follows.
func cleaned(r *bench.Report) *bench.Report {
	c := *r
	c.Version = oneLine(r.Version)
	c.Machine.Kernel, c.Machine.OS = oneLine(r.Machine.Kernel), oneLine(r.Machine.OS)
	c.Machine.Arch, c.Machine.CPU = oneLine(r.Machine.Arch), oneLine(r.Machine.CPU)
	c.Places = slices.Clone(r.Places)
	for i, p := range c.Places {
		p.Name, p.FileSystem, p.Options, p.Device = oneLine(p.Name), oneLine(p.FileSystem), oneLine(p.Options), oneLine(p.Device)
		c.Places[i] = p
	}
	c.Subjects = slices.Clone(r.Subjects)
	for i, s := range c.Subjects {
		s.Name, s.About, s.VariantOf = oneLine(s.Name), oneLine(s.About), oneLine(s.VariantOf)
		c.Subjects[i] = s
	}
	c.Results = slices.Clone(r.Results)
	for i := range c.Results {
		cleanResult(&c.Results[i])
	}
	return &c
}

func cleanResult(r *bench.Result) {
	for _, text := range []*string{&r.Suite, &r.Case, &r.Place, &r.Subject, &r.Skipped, &r.Note} {
		*text = oneLine(*text)
	}
	r.Params = slices.Clone(r.Params)
	for i, p := range r.Params {
		r.Params[i] = bench.Param{Name: oneLine(p.Name), Value: oneLine(p.Value)}
	}
	r.Metrics = slices.Clone(r.Metrics)
	for i := range r.Metrics {
		r.Metrics[i].Name, r.Metrics[i].Unit = oneLine(r.Metrics[i].Name), oneLine(r.Metrics[i].Unit)
	}
}
