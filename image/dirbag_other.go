//go:build !linux

package image

import "os"

func (d *dirBag) openPlain(name string) (*os.File, error) { return d.openByStat(name) }
