package layerdir

import (
	"bytes"
	"os"

	"github.com/moby/sys/mountinfo"
)

// maxMountLine is what package mountinfo, which reads with a bufio.Scanner, can
// take of a line. That of an overlay with 500 lower directories may have 100
// kB.
const maxMountLine = 32 << 10

// mounts lists the mounts of this mount namespace that the filter keeps. Of a
// very long line the middle is missing, which is in the lower directories.
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
