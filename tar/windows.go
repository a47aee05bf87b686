package tar

import (
	stdtar "archive/tar"
	"strings"
)

// windowsSigns collects the signs of a layer for Windows: it has a tree below
// Files/ and registry hives in Hives/, and its entries have special PAX
// records. One of these directory names alone is not a sign.
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
