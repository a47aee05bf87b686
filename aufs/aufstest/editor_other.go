//go:build !linux

package aufstest

import (
	"errors"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Editor works on Linux only.
type Editor struct{}

// New works on Linux only.
func New(string, []string) *Editor { return &Editor{} }

// Apply works on Linux only.
func (*Editor) Apply(fstest.Edit) error { return errors.ErrUnsupported }

// KeepTimes works on Linux only.
func (e *Editor) KeepTimes() *Editor { return e }
