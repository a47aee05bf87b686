// Package all lists the backends, in order of preference, and selects one.
// It is the only package that knows them all.
package all

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/layerkeep/layerkeep/aufs"
	"github.com/layerkeep/layerkeep/btrfs"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/overlay2"
	"github.com/layerkeep/layerkeep/vfs"
)

// A Backend is a driver that can be opened by name.
type Backend struct {
	Name string
	// New opens the driver's store in root, creating it when missing. It
	// probes what it needs on that very directory and returns an error matching
	// [driver.ErrUnsupported] when something is missing.
	New func(ctx context.Context, root string, opts driver.Options) (driver.Driver, error)
	// Found reports whether root holds layers that another engine left, which New
	// opens; nil for a backend that knows no other engine's.
	Found func(root string) bool
	// Records is the path below root of the directory that has one for each layer
	// of ours; empty for root itself.
	Records string
	// Tree is the directory with the files of a layer, in that of a layer of ours;
	// empty where Records tells enough.
	Tree string
}

// Backends returns every backend, the preferred one first.
func Backends() []Backend {
	return []Backend{
		{Name: overlay2.Name, New: overlay2.New, Tree: "fs"},
		{Name: btrfs.Name, New: btrfs.New, Tree: "vol"},
		{Name: vfs.Name, New: vfs.New, Tree: "tree"},
		{Name: aufs.Name, New: aufs.New, Found: aufs.Found, Records: aufs.Records},
	}
}

// Names returns the names of [Backends], in that order.
func Names() []string {
	var names []string
	for _, b := range Backends() {
		names = append(names, b.Name)
	}
	return names
}

// Foreign returns the name of the backend that reads the layers that another
// engine left in root/NAME, empty when there are none.
func Foreign(root string) string {
	for _, b := range Backends() {
		if b.Found != nil && b.Found(filepath.Join(root, b.Name)) {
			return b.Name
		}
	}
	return ""
}

// DriverOf returns the name of a backend of which root/NAME holds layers that
// this program made, empty when there is none. Docker has directories of the
// same names.
func DriverOf(root string) (string, error) {
	for _, b := range Backends() {
		entries, err := os.ReadDir(filepath.Join(root, b.Name, b.Records))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			if b.made(filepath.Join(root, b.Name, b.Records), e) {
				return b.Name, nil
			}
		}
	}
	return "", nil
}

// made reports whether an entry of the directory of a backend is a layer of
// ours. Those of other engines have neither our records nor a tree of that
// name, and no numbers for names. A layer that has lost its record is one, too,
// and a view has nothing else.
func (b Backend) made(dir string, e fs.DirEntry) bool {
	path := filepath.Join(dir, e.Name())
	if exists(filepath.Join(path, layerdir.RecordName)) {
		return true
	}
	if !e.IsDir() || driver.ID(e.Name()).Validate() != nil {
		return false
	}
	if b.Records != "" { // nobody else has that directory
		return true
	}
	_, err := strconv.ParseUint(e.Name(), 10, 64)
	return err == nil || exists(filepath.Join(path, b.Tree))
}

// A Rejection says why a backend cannot be used on a directory.
type Rejection struct {
	Name string
	Err  error
}

// Rejections is the error of [Select] when no backend works. It matches
// [driver.ErrUnsupported] and the errors of all rejections.
type Rejections []Rejection

// Error lists each backend with its reason.
func (r Rejections) Error() string {
	parts := make([]string, 0, len(r))
	for _, x := range r {
		// A driver's own errors begin with its name.
		parts = append(parts, x.Name+": "+strings.TrimPrefix(x.Err.Error(), x.Name+": "))
	}
	return "no backend works here: " + strings.Join(parts, "; ")
}

// Unwrap returns the rejections' errors.
func (r Rejections) Unwrap() []error {
	errs := []error{driver.ErrUnsupported}
	for _, x := range r {
		errs = append(errs, x.Err)
	}
	return errs
}

// Select opens a backend whose store is the directory root/NAME. With a name it
// opens that one; with an empty name, the first in [Backends] that works on
// root. It returns what was passed over, and why.
//
// Returns an error matching [driver.ErrUnsupported] for an unknown name and
// when nothing works.
func Select(ctx context.Context, root, name string, opts driver.Options) (driver.Driver, Rejections, error) {
	var rejected Rejections
	for _, b := range Backends() {
		if name != "" && name != b.Name {
			continue
		}
		if err := ctx.Err(); err != nil { // or else a lesser backend would be the store's
			return nil, rejected, err
		}
		dir := filepath.Join(root, b.Name)
		existed := exists(dir)
		d, err := b.New(ctx, dir, opts)
		if err == nil {
			return d, rejected, nil
		}
		if !existed {
			// What New could not use is of no use to anybody. A store that holds
			// something is not empty and stays.
			_ = os.Remove(dir)
		}
		if !errors.Is(err, driver.ErrUnsupported) {
			return nil, rejected, err
		}
		rejected = append(rejected, Rejection{Name: b.Name, Err: err})
	}
	if len(rejected) == 0 {
		return nil, nil, fmt.Errorf("driver %q: %w: there are %s", name, driver.ErrUnsupported, strings.Join(Names(), ", "))
	}
	return nil, rejected, rejected
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
