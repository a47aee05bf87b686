package aufs

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// keptTimesName is the name of the keptTimes file beside the record of a layer.
const keptTimesName = "times"

// keptTimes is a file with the modification times of directories that are about
// to get whiteouts, which would change these times. If the process is killed
// meanwhile, the file stays, and the next process restores the times. Each line
// has the seconds, the nanoseconds and the quoted path in the branch.
type keptTimes struct {
	path string // if empty, nothing is written
	file *os.File
}

// add stores the time of a directory before it changes.
func (k *keptTimes) add(dir string, mtime time.Time) (err error) {
	if k.path == "" {
		return nil
	}
	if k.file == nil {
		if k.file, err = os.OpenFile(k.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(k.file, "%d %d %q\n", mtime.Unix(), mtime.Nanosecond(), dir); err != nil {
		return err
	}
	return k.file.Sync()
}

// close closes the file, and removes it if err is nil.
func (k *keptTimes) close(err error) error {
	if k.file == nil {
		return err
	}
	err = errors.Join(err, k.file.Close())
	if err == nil {
		err = os.Remove(k.path)
	}
	return err
}

// maxKept limits the size of the file, in bytes. This is enough for a million
// directories with long paths.
const maxKept = 256 << 20

// restore sets the times of directories below root that an earlier process
// stored, and removes the file. It skips an incomplete last line: its directory
// was not changed.
func (k *keptTimes) restore(root *rootfd.Dir) error {
	text, err := ownfiles.Read(k.path, maxKept)
	if k.path == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		dir, mtime, ok := parseKept(lines.Text())
		if !ok {
			continue
		}
		if err := restoreAt(root, dir, mtime); err != nil {
			return err
		}
	}
	return errors.Join(lines.Err(), os.Remove(k.path))
}

func parseKept(line string) (dir string, mtime time.Time, ok bool) {
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 {
		return "", mtime, false
	}
	sec, err1 := strconv.ParseInt(f[0], 10, 64)
	nsec, err2 := strconv.ParseInt(f[1], 10, 64)
	dir, err3 := strconv.Unquote(f[2])
	return dir, time.Unix(sec, nsec), errors.Join(err1, err2, err3) == nil
}

func restoreAt(root *rootfd.Dir, dir string, mtime time.Time) error {
	d, err := root.OpenDirAt(dir)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return setMtime(d.Fd(), mtime)
}
