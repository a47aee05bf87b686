package image

import (
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

func (d *dirBag) openPlain(name string) (*os.File, error) {
	fd, _, err := sys.OpenPlainBeneath(int(d.dir.Fd()), name)
	runtime.KeepAlive(d.dir)
	switch {
	case err == nil:
		return os.NewFile(uintptr(fd), name), nil
	case errors.Is(err, unix.EXDEV):
		return nil, leadsOut(name)
	case errors.Is(err, sys.ErrNotPlain):
		return nil, notRegular(name)
	case sys.Refused(err):
		return d.openByStat(name)
	}
	return nil, err
}
