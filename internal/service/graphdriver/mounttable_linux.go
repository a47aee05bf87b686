package graphdriver

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
)

// mountTablePath lists the mounts of this mount namespace, see proc(5).
const mountTablePath = "/proc/thread-self/mountinfo"

// mountedBelow returns the names in dir on which something is mounted. It reads
// no more than the mount points, so that lines of any length will do: that of
// an overlay names hundreds of directories.
func mountedBelow(dir string) ([]string, error) {
	table, err := os.ReadFile(mountTablePath)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range bytes.Lines(table) {
		fields := bytes.SplitN(line, []byte{' '}, 6)
		if len(fields) < 6 {
			continue
		}
		name, ok := strings.CutPrefix(unescape(string(fields[4])), dir+"/")
		if ok && checkID(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// unescape undoes the escapes of the mount table: a backslash and three octal
// digits.
func unescape(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+3 < len(path) {
			if c, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}
