package overlay2

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// Borrow implements [driver.Borrower]. It refuses a store whose layers use
// other attributes as marks, as a store made in a user namespace does: files
// that a layer there removed would reappear here.
func (d *backend) Borrow(prefix, dir string, found json.RawMessage) error {
	err := d.sameMarks(found)
	if err == nil {
		err = d.store.Borrow(prefix, dir, fsDir)
	}
	if err == nil && !d.opts.ReadOnly { // a borrowed layer may be mounted before a layer of this store is made
		err = os.Mkdir(d.empty(), 0o700)
	}
	if err == nil || errors.Is(err, fs.ErrExist) || durable.NoRoom(err) {
		return nil
	}
	return fmt.Errorf("overlay2: layers of %s: %w", dir, err)
}

// openLayers opens the merged tree of a layer.
func (d *backend) openLayers(id driver.ID, m layerdir.Meta) (*stack, error) {
	if err := d.store.CheckLent(m.Parents...); err != nil {
		return nil, err
	}
	return openStack(d.dirs(id, m), d.marks, d.read())
}

func (d *backend) sameMarks(found json.RawMessage) error {
	var theirs facts
	if found == nil || json.Unmarshal(found, &theirs) != nil {
		return fmt.Errorf("%w: it is not recorded which attributes mark its layers: open it once for writing", driver.ErrUnsupported)
	}
	if theirs.Features.UserXattr != d.features.UserXattr {
		kind := map[bool]string{false: "trusted", true: "user"}
		return fmt.Errorf("%w: its layers have %s attributes as marks, here they are %s ones: import the image",
			driver.ErrUnsupported, kind[theirs.Features.UserXattr], kind[d.features.UserXattr])
	}
	return nil
}
