package overlay2

import (
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// A layer may have extended attributes of overlay's own namespace, as an image
// with overlays in it has. They are kept escaped: active, they would hide or show
// files of the host. Kernels before 6.7 hide escaped attributes, so what such a
// layer says cannot be shown there. It is refused there by name: another answer
// than on a newer kernel would be given otherwise.

// errEscaped says why a layer with escaped attributes is refused.
func (d *overlay) errEscaped() error {
	return fmt.Errorf("%w: it has extended attributes named %s*, which overlay can show from Linux 6.7 on",
		driver.ErrUnsupported, d.marks.XattrPrefix())
}

// recordEscaped writes into a layer's record that it is going to have escaped
// attributes.
func (d *overlay) recordEscaped(id driver.ID, m layerdir.Meta, escaped bool) error {
	if !escaped || m.Escaped {
		return nil
	}
	m.Escaped = true
	return d.store.Save(id, m)
}

// inherit gives a layer what is so as soon as it is so for one of its parents.
func inherit(m *layerdir.Meta, parents []layerdir.Meta) {
	for _, p := range parents {
		m.Metacopy = m.Metacopy || p.Metacopy
		m.Escaped = m.Escaped || p.Escaped
	}
}
