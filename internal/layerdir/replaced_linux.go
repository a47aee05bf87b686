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

// Exchange puts each of two directories in the place of the other, in one step.
// Returns [driver.ErrUnsupported] where the file system cannot do that.
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

// oldMounted reports whether something may still be mounted of what the layer
// id was before another directory took its place. That directory is now called
// name.
//
// A bind shows in the mount table under the new name. An overlay names the
// directories that it was made of as text, which does not tell the old layer
// from the new one: so every overlay of the layer, or of one that stands on it,
// keeps the old one.
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

// sameRoot reports whether a process has our root directory, in which paths
// lead where they lead us. In a container somebody else has made what is at a
// path.
func sameRoot(pid int) bool {
	ours, err := os.Stat("/")
	if err != nil {
		return false
	}
	theirs, err := os.Stat(procPath(pid, "root"))
	return err == nil && os.SameFile(ours, theirs)
}

// inTable reports whether a mount table has a bind of what is called name, or
// an overlay of one of the layers. Paths tells whether those in the table are
// paths for us.
func (s *Store) inTable(table []byte, paths bool, name string, ids []driver.ID) bool {
	for raw := range bytes.Lines(table) {
		line := string(raw)
		if strings.Contains(line, "/"+name) || isUnionLine(raw) && s.namesOne(line, ids) && !(paths && s.ofAnotherStore(line)) {
			return true
		}
	}
	return false
}

// standingOn returns a layer and all that have it among their parents.
func (s *Store) standingOn(id driver.ID) ([]driver.ID, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	return StandingOn(id, all, s.Load), nil
}

// StandingOn returns a layer and those of all that have it among their parents,
// as load says. Of a layer whose record cannot be read nothing can be mounted
// anew, but what is mounted of it may have the layer.
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
// source or among its directories. These may be relative to the store:
// containerd shortens long lists. The store may have another path in another
// mount namespace, but for the last directory.
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
// means those of another store, whose layers have the same names: all the
// directories in it that are called like ours are there, and none is ours. What
// is relative, or cannot be looked at, may be ours.
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

// isRelativeLayer reports whether a word of a mount table may name a directory
// of a layer from the store on, as containerd shortens long lists: 7/fs.
func isRelativeLayer(word string) bool {
	return strings.Contains(word, "/") && !strings.HasPrefix(word, "/")
}

// fromMountTable undoes inMountTable.
var fromMountTable = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// inMountTable escapes what proc_pid_mountinfo(5) escapes.
var inMountTable = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
