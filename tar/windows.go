package tar

import (
	stdtar "archive/tar"
	"strings"
)

// windowsSigns collects what tells a layer for Windows: its tree is below
// Files/, beside a Hives/ of registry hives, and its entries carry records of
// their own. A directory with one of these names alone is nothing special.
type windowsSigns struct{ files, hives bool }

func (w *windowsSigns) check(p string, hdr *stdtar.Header) error {
	top, _, _ := strings.Cut(p, "/")
	switch top {
	case "Files", "UtilityVM":
		w.files = w.files || top == "Files"
	case "Hives":
		w.hives = true
	default:
		return nil
	}
	if w.files && w.hives {
		return invalid("this is a layer for Windows")
	}
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "MSWINDOWS.") {
			return invalid("this is a layer for Windows")
		}
	}
	return nil
}
