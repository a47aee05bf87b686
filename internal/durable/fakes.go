package durable

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
)

// An Op names one operation of an [FS] or [File].
type Op string

// The operations.
const (
	OpCreate  Op = "create"
	OpWrite   Op = "write"
	OpChmod   Op = "chmod"
	OpKeep    Op = "keep"
	OpSync    Op = "fsync"
	OpClose   Op = "close"
	OpRename  Op = "rename"
	OpRemove  Op = "remove"
	OpSyncDir Op = "fsync-dir"
)

// Observed calls before with every operation and the path it is about before
// doing it on base; an error from before is returned instead of doing it. It is
// what [Faulty] and [Tracer] are made of.
func Observed(base FS, before func(op Op, path string) error) FS {
	return observed{base, before}
}

// Faulty is base with errors: fail returns the error an operation is to have,
// or nil to let it happen.
func Faulty(base FS, fail func(op Op, path string) error) FS { return Observed(base, fail) }

// A Tracer writes down what is done on its FS, one line for each operation,
// with the random part of temporary names left out, to compare with a golden
// text: a dropped fsync shows as a missing line.
type Tracer struct {
	base FS
	mu   sync.Mutex
	log  []string
}

// NewTracer returns a Tracer of base.
func NewTracer(base FS) *Tracer { return &Tracer{base: base} }

// FS returns the traced file operations.
func (t *Tracer) FS() FS {
	return Observed(t.base, func(op Op, path string) error {
		name := filepath.Base(path)
		if strings.HasPrefix(name, TempPrefix) {
			name = TempPrefix + "*"
		}
		if op == OpSyncDir {
			name = "."
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.log = append(t.log, fmt.Sprintf("%s %s", op, name))
		return nil
	})
}

// String returns the operations so far, one in a line.
func (t *Tracer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.log, "\n")
}

type observed struct {
	base   FS
	before func(op Op, path string) error
}

func (o observed) CreateTemp(dir, prefix string) (File, error) {
	if err := o.before(OpCreate, filepath.Join(dir, prefix)); err != nil {
		return nil, err
	}
	f, err := o.base.CreateTemp(dir, prefix)
	if err != nil {
		return nil, err
	}
	return observedFile{f, o.before}, nil
}

func (o observed) Rename(from, to string) error {
	if err := o.before(OpRename, to); err != nil {
		return err
	}
	return o.base.Rename(from, to)
}

func (o observed) Remove(path string) error {
	if err := o.before(OpRemove, path); err != nil {
		return err
	}
	return o.base.Remove(path)
}

func (o observed) SyncDir(dir string) error {
	if err := o.before(OpSyncDir, dir); err != nil {
		return err
	}
	return o.base.SyncDir(dir)
}

type observedFile struct {
	File
	before func(op Op, path string) error
}

func (f observedFile) Write(b []byte) (int, error) {
	if err := f.before(OpWrite, f.Name()); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f observedFile) Chmod(mode fs.FileMode) error {
	if err := f.before(OpChmod, f.Name()); err != nil {
		return err
	}
	return f.File.Chmod(mode)
}

func (f observedFile) Keep() error {
	if err := f.before(OpKeep, f.Name()); err != nil {
		return err
	}
	return f.File.Keep()
}

func (f observedFile) Sync() error {
	if err := f.before(OpSync, f.Name()); err != nil {
		return err
	}
	return f.File.Sync()
}

// Close always closes: a failing close still frees the descriptor.
func (f observedFile) Close() error {
	before := f.before(OpClose, f.Name())
	if err := f.File.Close(); err != nil {
		return err
	}
	return before
}
