package service

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/internal/errkind"
)

// ErrRootGone says that the directory of the store is not the one that was
// opened: its file system was unmounted, or something was mounted over it.
// Calls are refused until it is back, because an engine would be told that
// nothing exists.
var ErrRootGone = fmt.Errorf("the directory of the store is gone: %w", errdefs.ErrUnavailable)

// A rootGuard notices when the directory of the store is another one.
type rootGuard struct {
	path string
	info os.FileInfo
}

func newRootGuard(path string) (*rootGuard, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &rootGuard{path: path, info: info}, nil
}

// check returns an error that matches ErrRootGone if it is.
func (g *rootGuard) check() error {
	now, err := os.Stat(g.path)
	switch {
	case err == nil && os.SameFile(now, g.info):
		return nil
	case err == nil:
		err = errors.New("another directory is in its place")
	}
	return errkind.Only(fmt.Errorf("the directory of the store, %s, is gone (%w): was its file system unmounted?", g.path, err), ErrRootGone)
}
