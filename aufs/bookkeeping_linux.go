package aufs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rmtree"
)

// The files that the aufs module makes in the root of a writable branch.
const (
	baseName   = ".wh..wh.aufs" // every whiteout is a hard link to it
	orphanName = ".wh..wh.orph" // removed files that are still open
	pseudoName = ".wh..wh.plnk" // hard links to files that come from other branches
)

func makeBookkeeping(branch string) error {
	base := filepath.Join(branch, baseName)
	if err := os.WriteFile(base, nil, 0o444); err != nil {
		return err
	}
	if err := os.Chmod(base, 0o444); err != nil { // regardless of the umask
		return err
	}
	for _, name := range []string{orphanName, pseudoName} {
		if err := os.Mkdir(filepath.Join(branch, name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// emptyBookkeeping removes what a mount that is gone left in the two
// directories. It keeps the directories, because removing them would change the
// times of the root.
func emptyBookkeeping(branch string) error {
	var errs []error
	for _, name := range []string{orphanName, pseudoName} {
		dir := filepath.Join(branch, name)
		f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // aufs did not make it
		}
		if err != nil {
			return err
		}
		left, err := f.Readdirnames(-1)
		errs = append(errs, err, f.Close())
		for _, child := range left {
			errs = append(errs, rmtree.Remove(filepath.Join(dir, child)))
		}
	}
	return errors.Join(errs...)
}

// branchUsage returns what the files of a branch take, without the bookkeeping.
func branchUsage(ctx context.Context, branch string) (driver.Usage, error) {
	return layerdir.UsageWithout(ctx, branch, baseName, orphanName, pseudoName)
}
