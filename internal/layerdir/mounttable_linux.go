package layerdir

import (
	"bytes"
	"os"

	"github.com/moby/sys/mountinfo"
)

// maxMountLine is the length, in bytes, to which longer lines of a mount table
// are cut. Package mountinfo reads lines with a bufio.Scanner, which fails for
// lines of 64 KiB or more. The line of an overlay with 500 lower directories
// can have 100 kB.
const maxMountLine = 32 << 10

// mounts lists the mounts of this mount namespace that the filter accepts. It
// cuts the middle out of a very long line, which is inside the list of lower
// directories.
func mounts(filter mountinfo.FilterFunc) ([]*mountinfo.Info, error) {
	table, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return mountinfo.GetMountsFromReader(bytes.NewReader(shortenLines(table)), filter)
}

func shortenLines(table []byte) []byte {
	var short []byte
	for line := range bytes.Lines(table) {
		if n := len(line); n > maxMountLine {
			short = append(short, line[:maxMountLine/2]...)
			line = line[n-maxMountLine/2:]
		}
		short = append(short, line...)
	}
	return short
}
