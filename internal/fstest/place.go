package fstest

import "testing"

// Place returns a directory on which works returns nil: dir, or one on a
// scratch btrfs. Where it does on neither the test is skipped, and told why.
func Place(tb testing.TB, dir string, works func(dir string) error) string {
	tb.Helper()
	err := works(dir)
	if err == nil {
		return dir
	}
	if !CanMount(tb) {
		tb.Skipf("does not work in %s, and nothing else can be mounted: %v", dir, err)
	}
	scratch := Scratch(tb, Btrfs)
	if onBtrfs := works(scratch); onBtrfs != nil {
		tb.Skipf("works neither in %s nor on a btrfs: %v; %v", dir, err, onBtrfs)
	}
	return scratch
}
