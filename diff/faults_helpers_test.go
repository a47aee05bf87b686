//go:build linux

package diff_test

import (
	"context"
	"fmt"
	"io"

	"github.com/layerkeep/layerkeep/diff"
)

// faults counts the calls of a comparison to its views, files and context, and
// lets one of them fail.
type faults struct {
	fail   int   // which call fails, counted from 1; 0: none
	err    error // the error of that call
	calls  int
	failed string // the call that failed
	open   int    // number of directories and bodies that are open now
}

// next counts a call and returns its error.
func (f *faults) next(call, name string) error {
	if f.calls++; f.calls != f.fail {
		return nil
	}
	f.failed = call
	return fmt.Errorf("%s %q: %w", call, name, f.err)
}

// faultContext fails when its end is checked.
type faultContext struct {
	context.Context
	*faults
}

func (c faultContext) Err() error { return c.next("Err", "") }

// A faultView can fail in its own methods and in those of everything that is
// opened below it. It is a Hinter, a Linker and a BodyMatcher, and answers as
// the view that it wraps.
type faultView struct {
	diff.View
	*faults
}

type faultDir struct {
	diff.Dir
	*faults
}

type faultBody struct {
	io.ReadCloser
	*faults
}

func (v faultView) Root() (diff.Dir, error) {
	if err := v.next("Root", ""); err != nil {
		return nil, err
	}
	return openFaultDir(v.View.Root())(v.faults)
}

func (v faultView) Links(n diff.Node) ([]string, bool, error) {
	l, ok := v.View.(diff.Linker)
	if !ok {
		return nil, false, nil
	}
	if err := v.next("Links", ""); err != nil {
		return nil, false, err
	}
	return l.Links(n)
}

func openFaultDir(d diff.Dir, err error) func(*faults) (diff.Dir, error) {
	return func(f *faults) (diff.Dir, error) {
		if err != nil {
			return nil, err
		}
		f.open++
		return faultDir{d, f}, nil
	}
}

func (d faultDir) Close() error {
	d.open--
	return d.Dir.Close()
}

func (d faultDir) Stat() (diff.Node, error) {
	if err := d.next("Stat", ""); err != nil {
		return diff.Node{}, err
	}
	return d.Dir.Stat()
}

func (d faultDir) Xattrs() (map[string]string, error) {
	if err := d.next("Xattrs", ""); err != nil {
		return nil, err
	}
	return d.Dir.Xattrs()
}

func (d faultDir) Names() ([]string, error) {
	if err := d.next("Names", ""); err != nil {
		return nil, err
	}
	return d.Dir.Names()
}

func (d faultDir) Lookup(name string) (diff.Node, error) {
	if err := d.next("Lookup", name); err != nil {
		return diff.Node{}, err
	}
	return d.Dir.Lookup(name)
}

func (d faultDir) LookupXattrs(name string) (map[string]string, error) {
	if err := d.next("LookupXattrs", name); err != nil {
		return nil, err
	}
	return d.Dir.LookupXattrs(name)
}

func (d faultDir) Readlink(name string) (string, error) {
	if err := d.next("Readlink", name); err != nil {
		return "", err
	}
	return d.Dir.Readlink(name)
}

func (d faultDir) OpenDir(name string) (diff.Dir, error) {
	if err := d.next("OpenDir", name); err != nil {
		return nil, err
	}
	return openFaultDir(d.Dir.OpenDir(name))(d.faults)
}

func (d faultDir) Open(name string) (io.ReadCloser, error) {
	if err := d.next("Open", name); err != nil {
		return nil, err
	}
	body, err := d.Dir.Open(name)
	if err != nil {
		return nil, err
	}
	d.open++
	return faultBody{body, d.faults}, nil
}

func (d faultDir) Hints() ([]diff.Hint, bool, error) {
	h, ok := d.Dir.(diff.Hinter)
	if !ok {
		return nil, false, nil
	}
	if err := d.next("Hints", ""); err != nil {
		return nil, false, err
	}
	return h.Hints()
}

func (d faultDir) SameBody(name string, old diff.Dir) (bool, error) {
	m, ok := d.Dir.(diff.BodyMatcher)
	if !ok {
		return false, nil
	}
	if err := d.next("SameBody", name); err != nil {
		return false, err
	}
	return m.SameBody(name, old)
}

func (b faultBody) Read(p []byte) (int, error) {
	if err := b.next("Read", ""); err != nil {
		return 0, err
	}
	return b.ReadCloser.Read(p)
}

func (b faultBody) Close() error {
	b.open--
	return b.ReadCloser.Close()
}
