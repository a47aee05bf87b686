package tar

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isDamage reports whether an error says that the disk, or the file system on
// it, is damaged. Ext4 and xfs give EUCLEAN for metadata that makes no sense
// and EBADMSG for a wrong checksum of it; EIO is everybody's.
func isDamage(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG) || errors.Is(err, unix.EREMOTEIO)
}

// bear turns damage into a finding and returns other errors.
func (c *collector) bear(path string, below bool, err error) error {
	if !isDamage(err) {
		return err
	}
	c.add(Finding{Path: path, Kind: FindingUnreadable, Below: below, Err: err})
	return nil
}
