package aufs

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// maxParentsFile limits how much is read of a file in layers/, in bytes. 126
// IDs of the longest kind take a quarter of it.
const maxParentsFile = 64 << 10

// loadForeign returns a record for a layer that another engine made. The record
// says that the layer is sealed. loadForeign returns [driver.ErrNotFound] if
// there is no such layer, and an error matching [driver.ErrInvalidLayer] if the
// files are not a valid layer.
func (s *store) loadForeign(id driver.ID) (layerdir.Meta, error) {
	parents, err := s.readParents(id)
	if err == nil {
		err = s.checkBranches(append([]driver.ID{id}, parents...))
	}
	if err != nil {
		return layerdir.Meta{}, fmt.Errorf("%s: %w", id, err)
	}
	return layerdir.Meta{Parents: parents, Sealed: true}, nil
}

// checkBranches returns an error unless each layer has a branch that is a
// directory. The first ID is the requested layer, the others are its parents.
func (s *store) checkBranches(ids []driver.ID) error {
	for i, id := range ids {
		st, err := os.Lstat(s.branch(id))
		switch {
		case errors.Is(err, fs.ErrNotExist) && i == 0:
			return driver.ErrNotFound // its engine was interrupted while it made or removed the layer
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: its parent %s is missing", driver.ErrInvalidLayer, id)
		case err != nil:
			return err
		case !st.IsDir():
			return fmt.Errorf("%w: %s is no directory", driver.ErrInvalidLayer, s.branch(id))
		}
	}
	return nil
}

// readParents reads the parents of a layer, nearest first, from its file.
func (s *store) readParents(id driver.ID) ([]driver.ID, error) {
	text, err := readRegular(s.parentsFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, driver.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	var parents []driver.ID
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		p := driver.ID(lines.Text())
		switch {
		case p.Validate() != nil:
			return nil, fmt.Errorf("%w: %.200q is among its parents", driver.ErrInvalidLayer, string(p))
		case p == id || slices.Contains(parents, p):
			return nil, fmt.Errorf("%w: %s is twice in its chain of parents", driver.ErrInvalidLayer, p)
		case len(parents) == maxParents:
			return nil, fmt.Errorf("%w: it has more than %d parents", driver.ErrInvalidLayer, maxParents)
		}
		parents = append(parents, p)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", driver.ErrInvalidLayer, s.parentsFile(id), err)
	}
	return parents, nil
}

// readRegular reads a small regular file. It does not follow a symbolic link
// and does not wait for a pipe.
func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("%w: %w", driver.ErrInvalidLayer, err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no regular file", driver.ErrInvalidLayer, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxParentsFile+1))
	if err == nil && len(text) > maxParentsFile {
		err = fmt.Errorf("%w: %s has more than %d bytes", driver.ErrInvalidLayer, path, maxParentsFile)
	}
	return text, err
}

// foreign lists the layers that another engine made, parents first. It skips
// anything that is not a complete layer. If the other engine could not use a
// layer either, foreign logs that once.
func (s *store) foreign(ctx context.Context) ([]driver.Foreign, error) {
	found, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b driver.Foreign) int {
		return cmp.Or(cmp.Compare(len(a.Parents), len(b.Parents)), cmp.Compare(a.ID, b.ID))
	})
	good := map[driver.ID][]driver.ID{}
	var list []driver.Foreign
	for _, f := range found {
		// A layer has more parents than its own parent has, so the accepted layers have
		// no loop.
		if err := s.checkChain(f, good); err != nil {
			s.pass(ctx, f.ID, err)
			continue
		}
		good[f.ID] = f.Parents
		list = append(list, f)
	}
	return list, nil
}

// scan loads all layers that have no record of this driver.
func (s *store) scan(ctx context.Context) ([]driver.Foreign, error) {
	dir, err := os.Open(s.parentsFile(""))
	if errors.Is(err, fs.ErrNotExist) && s.records.Changeable() != nil {
		return nil, nil // only opening for writing makes the directory
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var found []driver.Foreign
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		id := driver.ID(name)
		if id.Validate() != nil {
			continue
		}
		ours, err := s.ours(id)
		if err != nil {
			return nil, err
		}
		if ours {
			continue
		}
		m, err := s.loadForeign(id)
		switch {
		case errors.Is(err, driver.ErrNotFound):
			continue
		case err != nil:
			s.pass(ctx, id, err)
			continue
		}
		found = append(found, driver.Foreign{ID: id, Parents: m.Parents})
	}
	return found, nil
}

// checkChain returns an error unless the nearest parent of f is a usable layer,
// and that parent has the remaining parents of f.
func (s *store) checkChain(f driver.Foreign, good map[driver.ID][]driver.ID) error {
	if len(f.Parents) == 0 {
		return nil
	}
	above, ok := good[f.Parents[0]]
	if !ok {
		m, err := s.records.Load(f.Parents[0])
		if err != nil || !m.Sealed {
			return fmt.Errorf("%w: its parent %s is none that can be used", driver.ErrInvalidLayer, f.Parents[0])
		}
		above = m.Parents
	}
	if !slices.Equal(above, f.Parents[1:]) {
		return fmt.Errorf("%w: its parents are not those of its parent %s", driver.ErrInvalidLayer, f.Parents[0])
	}
	return nil
}
