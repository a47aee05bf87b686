// Package semantics is docs/semantics.md, what a layer means, as a table: every
// statement of that page that can be said as layers and edits has a [Case] with
// the result written out by hand. The model is tested with it, and so is every
// backend.
package semantics

import (
	stdtar "archive/tar"
	"slices"
	"strings"
	"time"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A Case is an example of one statement about layers.
type Case struct {
	// Name starts with the code of a statement in docs/semantics.md: "W1 ...".
	Name string
	// Layers are applied on each other; the statement is about the last.
	Layers [][]fstest.Entry
	// Edits are made through a mount of the last layer after it was applied.
	Edits []fstest.Edit
	// Tree is the outcome, as [fstest.Tree.Brief] lists it.
	Tree []string
	// Attrs are attributes of the outcome, as [fstest.Node.Attrs].
	Attrs map[string]string
	// Changes are what the last layer's diff holds, as model.Brief lists it.
	// Nil leaves that to the model.
	Changes []string
	// Invalid says that the last layer is refused with ErrInvalidLayer; Tree is
	// then the tree before it. The error's text holds ErrorNames.
	Invalid    bool
	ErrorNames []string
	// Warns are paths that a warning is given for.
	Warns []string
	// RenamesDir says that the edits rename a directory of the parents.
	RenamesDir bool
	// RemovesXattrs says that the edits remove an extended attribute.
	RemovesXattrs bool
	// Nanoseconds says that the edits change a time by less than a second.
	Nanoseconds bool
}

// WholeSeconds returns the case with all times of its layers and edits cut to
// seconds. It is for cases without Attrs.
func (c Case) WholeSeconds() Case {
	cut := func(t time.Time) time.Time { return time.Unix(t.Unix(), 0) }
	layers, edits := c.Layers, c.Edits
	c.Layers, c.Edits = nil, slices.Clone(edits)
	for _, l := range layers {
		l = slices.Clone(l)
		for i := range l {
			l[i].Mtime = cut(l[i].Mtime)
		}
		c.Layers = append(c.Layers, l)
	}
	for i := range c.Edits {
		c.Edits[i].Mtime = cut(c.Edits[i].Mtime)
	}
	return c
}

// Cases returns every case.
func Cases() []Case {
	return slices.Concat(model(), whiteouts(), opaques(), replacements(), parentSymlinks(), links(),
		metadata(), special(), changes(), contents(), renames(), linkChanges())
}

// layer makes the layers of a case read well.
func layer(entries ...fstest.Entry) []fstest.Entry { return entries }

func over(layers ...[]fstest.Entry) [][]fstest.Entry { return layers }

// Unprivileged reports whether the case can hold in a user namespace with one
// id, where there are no other owners, no devices and no trusted attributes.
func (c Case) Unprivileged() bool {
	for _, l := range c.Layers {
		for _, e := range l {
			device := (e.Type == stdtar.TypeChar || e.Type == stdtar.TypeBlock) && e.Major+e.Minor != 0
			if device || (e.UID != 0 || e.GID != 0) && e.Type != stdtar.TypeLink || privileged(e.Xattrs) {
				return false
			}
		}
	}
	for _, e := range c.Edits {
		if e.UID != 0 || e.GID != 0 || e.Rdev != 0 || privileged(map[string]string{e.Name: ""}) {
			return false
		}
	}
	return true
}

func privileged(xattrs map[string]string) bool {
	for name := range xattrs {
		if strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "system.") {
			return true
		}
	}
	return false
}

// Attributes of entries that say nothing else, and of implied directories.
const (
	fileAttrs    = "0644 0:0 1000000000.123456789"
	dirAttrs     = "0755 0:0 1000000000.123456789"
	impliedAttrs = "0755 0:0 0.000000000"
)
