package mount

import (
	"fmt"
	"path/filepath"
)

// check refuses what cannot be mounted before any system call is made.
func (m Mount) check() error {
	if m.IDMap != nil {
		if m.Type == "aufs" {
			return fmt.Errorf("%w: aufs with a map of IDs", ErrUnsupported)
		}
		if err := m.IDMap.Validate(); err != nil {
			return err
		}
	}
	switch {
	case m.AUFS != nil && m.Type != "aufs":
		return fmt.Errorf("%w: branches of a mount of type %q", ErrUnsupported, m.Type)
	case m.Type == "bind":
		return nil
	case m.Type == "aufs":
		return m.checkAUFS()
	case m.Type != "overlay":
		return fmt.Errorf("%w: file system type %q", ErrUnsupported, m.Type)
	case m.Overlay == nil || len(m.Overlay.Lower) == 0:
		return fmt.Errorf("%w: overlay without lower directories", ErrUnsupported)
	case len(m.Overlay.Lower) > MaxLower:
		return fmt.Errorf("%w: %d lower directories, at most %d", ErrUnsupported, len(m.Overlay.Lower), MaxLower)
	case (m.Overlay.Upper == "") != (m.Overlay.Work == ""):
		return fmt.Errorf("%w: overlay with only one of upper and work directory", ErrUnsupported)
	}
	if m.Overlay != nil {
		return m.Overlay.check()
	}
	return nil
}

func (o *Overlay) check() error {
	for _, path := range append([]string{o.Upper, o.Work}, o.Lower...) {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%w: overlay with the relative path %q", ErrUnsupported, path)
		}
	}
	return nil
}
