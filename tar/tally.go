package tar

import "fmt"

// A tally counts the files of a layer that one warning is about.
type tally struct {
	files int
	path  string // of the one that is named
}

// others says how many there are beside the one that is named.
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
