package layerdir

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// Exchange swaps two directories in one step. It returns
// [driver.ErrUnsupported] if the file system cannot do that.
func Exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if err == nil {
		return nil
	}
	link := &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	if errors.Is(err, unix.EINVAL) || sys.Refused(err) {
		return errors.Join(driver.ErrUnsupported, link)
	}
	return link
}

// oldMounted reports whether the replaced directory of the layer id may still
// be mounted. That directory is now called name.
//
// A bind mount appears in the mount table under the new name. The mount table
// shows the directories of an overlay as the text that was given at mount time,
// which is the same for the old and the new directory. So oldMounted returns
// true for every overlay of the layer id, and of every layer that has it as a
// parent.
func (s *Store) oldMounted(name string, id driver.ID) (bool, error) {
	own, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return false, err
	}
	others, err := otherNamespaces()
	if err != nil {
		return false, err
	}
	ids, err := s.standingOn(id)
	if err != nil {
		return false, err
	}
	if s.inTable(own, true, name, ids) {
		return true, nil
	}
	return slices.ContainsFunc(others, func(n namespace) bool {
		return s.inTable(n.table, sameRoot(n.pid), name, ids)
	}), nil
}

// sameRoot reports whether a process has the same root directory as this
// process, so that paths mean the same for both. A path in a container may lead
// to a different file.
func sameRoot(pid int) bool {
	ours, err := os.Stat("/")
	if err != nil {
		return false
	}
	theirs, err := os.Stat(procPath(pid, "root"))
	return err == nil && os.SameFile(ours, theirs)
}

// inTable reports whether a mount table has a bind mount of the directory
// called name, or an overlay or aufs of one of the layers. paths says whether
// paths in the table mean the same for this process.
func (s *Store) inTable(table []byte, paths bool, name string, ids []driver.ID) bool {
	for raw := range bytes.Lines(table) {
		line := string(raw)
		if strings.Contains(line, "/"+name) || isUnionLine(raw) && s.namesOne(line, ids) && !(paths && s.ofAnotherStore(line)) {
			return true
		}
	}
	return false
}

// standingOn returns a layer and all layers that have it as a parent.
func (s *Store) standingOn(id driver.ID) ([]driver.ID, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	return StandingOn(id, all, s.Load), nil
}

// StandingOn returns the layer id and those layers in all that have it as a
// parent. It reads their records with load. It includes a layer whose record
// cannot be read: such a layer cannot be mounted again, but an existing mount
// of it may use the layer id.
func StandingOn(id driver.ID, all []driver.ID, load func(driver.ID) (Meta, error)) []driver.ID {
	ids := []driver.ID{id}
	for _, other := range all {
		if m, err := load(other); other != id && (err != nil || slices.Contains(m.Parents, id)) {
			ids = append(ids, other)
		}
	}
	return ids
}

func isUnionLine(line []byte) bool {
	return bytes.Contains(line, []byte(" - overlay ")) || bytes.Contains(line, []byte(" - aufs "))
}

// namesOne reports whether a line of a mount table has one of the layers as its
// source or among its directories. The directories may be relative to the
// store, because containerd shortens long lists that way. In another mount
// namespace the path of the store may differ, except for its last component.
func (s *Store) namesOne(line string, ids []driver.ID) bool {
	base := filepath.Base(s.root) + "/"
	for _, id := range ids {
		if strings.Contains(line, " "+inMountTable.Replace(Label(s.Path(id)))+" ") {
			return true
		}
		for _, before := range []string{"/" + base, "=" + base, ":" + base, "=", ":"} {
			if strings.Contains(line, before+string(id)+"/") {
				return true
			}
		}
	}
	return false
}

// ofAnotherStore reports whether a line of a mount table that names layers
// means layers of another store with the same names. This is so if every store
// directory in the line that has the name of this store exists and is another
// directory. The result is false if a path is relative or cannot be checked,
// because it may be in this store.
func (s *Store) ofAnotherStore(line string) bool {
	ours, err := os.Stat(s.root)
	if err != nil {
		return false
	}
	_, line, _ = strings.Cut(line, " - ")
	base := filepath.Base(s.root) + "/"
	others := map[string]bool{}
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" ,=:\n", r) }) {
		i := strings.LastIndex(word, base)
		if i < 0 {
			if isRelativeLayer(word) {
				return false
			}
			continue
		}
		dir := fromMountTable.Replace(word[:i+len(base)])
		if others[dir] {
			continue
		}
		theirs, err := os.Stat(dir)
		if !strings.HasPrefix(dir, "/") || strings.Contains(dir, `\`) || err != nil || os.SameFile(ours, theirs) {
			return false
		}
		others[dir] = true
	}
	return len(others) > 0
}

// isRelativeLayer reports whether a word of a mount table may be the directory
// of a layer relative to the store, such as 7/fs. containerd shortens long
// lists that way.
func isRelativeLayer(word string) bool {
	return strings.Contains(word, "/") && !strings.HasPrefix(word, "/")
}

// fromMountTable undoes inMountTable.
var fromMountTable = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// inMountTable escapes the characters that proc_pid_mountinfo(5) escapes.
var inMountTable = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
