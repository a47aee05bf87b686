package tar

import "fmt"

// A tally counts the files of a layer that one warning is about.
type tally struct {
	files int
	path  string // the path that the warning names
}

// others says how many files there are besides the named one.
func (t *tally) others() string {
	switch t.files {
	case 1:
		return ""
	case 2:
		return ", as for 1 more file"
	default:
		return fmt.Sprintf(", as for %d more files", t.files-1)
	}
}
