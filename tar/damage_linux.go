package tar

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isDamage reports whether an error says that the disk, or the file system on
// it, is damaged. Ext4 and xfs return EUCLEAN for metadata that makes no sense,
// and EBADMSG for a wrong checksum of metadata. Every file system returns EIO.
func isDamage(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG) || errors.Is(err, unix.EREMOTEIO)
}

// bear adds a finding if the error is damage, and returns any other error.
func (c *collector) bear(path string, below bool, err error) error {
	if !isDamage(err) {
		return err
	}
	c.add(Finding{Path: path, Kind: FindingUnreadable, Below: below, Err: err})
	return nil
}
