package layerdir

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// faultOps are the operations in which each system call fails once. Each
// returns its result. The store has the layers of faultStore.
var faultOps = map[string]func(s *Store, other string) (any, error){
	"open":              func(s *Store, _ string) (any, error) { return closed(Open(s.root)) },
	"open read-only":    func(s *Store, _ string) (any, error) { return closed(OpenReadOnly(s.root)) },
	"open for a driver": func(s *Store, _ string) (any, error) { return closed(OpenFor(s.root, driver.Options{})) },
	"open for reading": func(s *Store, _ string) (any, error) {
		return closed(OpenFor(s.root, driver.Options{ReadOnly: true}))
	},
	"record again": func(s *Store, _ string) (any, error) {
		return nil, s.Rerecorder("vfs", "tree", nil).Rerecord(context.Background(), "open", []driver.ID{"sealed"}, driver.CreateOptions{Size: 7})
	},
	"renew": func(s *Store, _ string) (any, error) { return nil, s.Renew("torn", Meta{Size: 7}) },
	"replace what is missing": func(s *Store, _ string) (any, error) {
		err := s.Replacer("vfs").Replace(context.Background(), "gone", "sealed")
		if err != nil && !errors.Is(err, driver.ErrNotFound) { // the first try may have removed it
			return nil, err
		}
		return s.Load("gone")
	},
	"usage, seeing all": func(s *Store, _ string) (any, error) {
		var seen []string
		usage, err := UsageVisiting(context.Background(), s.Path("open", "tree"), func(_ *rootfd.Dir, name string) error {
			seen = append(seen, name)
			return nil
		})
		slices.Sort(seen)
		return []any{usage, seen}, err
	},
	"written elsewhere": func(s *Store, _ string) (any, error) {
		return nil, s.NotWritableElsewhere(context.Background(), "open")
	},
	"create": func(s *Store, _ string) (any, error) {
		return nil, s.Create("new", Meta{Parents: []driver.ID{"sealed"}}, func(dir string) error { return os.Mkdir(dir+"/tree", 0o755) })
	},
	"create what is there": func(s *Store, _ string) (any, error) {
		err := s.Create("open", Meta{}, func(string) error { return nil })
		if errors.Is(err, driver.ErrExists) {
			return "exists", nil
		}
		return "", err
	},
	"load":        func(s *Store, _ string) (any, error) { return s.Load("sealed") },
	"load none":   func(s *Store, _ string) (any, error) { return missing(s.Load("none")) },
	"writable":    func(s *Store, _ string) (any, error) { return s.Writable("open") },
	"save":        func(s *Store, _ string) (any, error) { return nil, s.Save("open", Meta{Size: 7}) },
	"become":      func(s *Store, other string) (any, error) { return nil, s.Become("open", s.Path(".new-record")) },
	"list":        func(s *Store, _ string) (any, error) { return s.List() },
	"remove":      func(s *Store, _ string) (any, error) { return nil, s.Remove("open") },
	"remove none": func(s *Store, _ string) (any, error) { return nil, s.Remove("none") },
	"remove idle": func(s *Store, _ string) (any, error) { return nil, s.RemoveIdle("open") },
	"clean up":    func(s *Store, _ string) (any, error) { return nil, s.Cleanup(context.Background()) },
	"usage":       func(s *Store, _ string) (any, error) { return s.Usage(context.Background(), "open", "tree") },
	"usage of a part": func(s *Store, _ string) (any, error) {
		return UsageWithout(context.Background(), s.Path("open"), "tree")
	},
	"usage, recorded": func(s *Store, _ string) (any, error) { return s.Usage(context.Background(), "sealed", "tree") },
	"merge": func(s *Store, _ string) (any, error) {
		return nil, s.Merging("open", false, func() error { return os.WriteFile(s.Path("open", "tree", "merged"), nil, 0o600) })
	},
	"merge to disk": func(s *Store, _ string) (any, error) {
		return nil, s.Merging("open", true, func() error { return os.WriteFile(s.Path("open", "tree", "merged"), nil, 0o600) })
	},
	"sync":             func(s *Store, other string) (any, error) { return nil, SyncFS(other) },
	"empty attributes": func(_ *Store, other string) (any, error) { return nil, EmptyRoot(other) },
	"parents":          func(s *Store, _ string) (any, error) { return s.CheckParents([]driver.ID{"sealed"}) },
	"no parents":       func(s *Store, _ string) (any, error) { return missing(s.CheckParents([]driver.ID{"none"})) },
	"note":             func(s *Store, _ string) (any, error) { return nil, s.Note("sealed", json.RawMessage(`"note"`)) },
	"note for later":   func(s *Store, _ string) (any, error) { return nil, s.Note("open", json.RawMessage(`"note"`)) },
	"note now":         func(s *Store, _ string) (any, error) { return nil, s.NoteNow("open", json.RawMessage(`"note"`)) },
	"without syncs":    func(s *Store, _ string) (any, error) { return nil, s.MarkVolatile("open") },
	"record":           func(s *Store, _ string) (any, error) { return s.Recorder("vfs").Record(context.Background(), "open") },
	"record of torn":   func(s *Store, _ string) (any, error) { return s.Record("torn") },
	"mounted":          func(s *Store, _ string) (any, error) { return s.Mounted("open") },
	"nothing mounted":  func(s *Store, _ string) (any, error) { return nil, s.NotMounted("open", Unmounted) },
	"mounted below":    func(s *Store, _ string) (any, error) { return nil, NothingMountedBelow(s.Path("none", "none")) },
	"sources":          func(*Store, string) (any, error) { return Sources("no such type") },
	"owners":           func(_ *Store, other string) (any, error) { return nil, CheckOwners(other) },
	"device nodes":     func(_ *Store, other string) (any, error) { return scratch(other, UserNS) },
	"namespaces":       func(_ *Store, other string) (any, error) { return scratch(other, XattrNamespaces) },
	"branch":           func(s *Store, _ string) (any, error) { return BranchUse(s.Path("open")) },
	"recorded": func(s *Store, _ string) (any, error) {
		at, err := s.Recorded("open")
		return !at.IsZero(), err
	},
	"seal": func(s *Store, _ string) (any, error) {
		nothing := func(*Meta) error { return nil }
		return nil, s.Seal(context.Background(), "open", "tree", nothing)
	},
	"unpack": func(s *Store, _ string) (any, error) {
		m, f, done, err := s.Unpacking("open")
		if err != nil {
			return nil, err
		}
		defer done()
		return m, f.Sync()
	},
	"copy attributes": func(s *Store, other string) (any, error) {
		f, err := os.Open(s.Path("open", "tree"))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from, err := diff.DirView(f).Root()
		if err != nil {
			return nil, err
		}
		defer from.Close()
		return nil, CopyRoot(other, from, whiteout.OverlayUser)
	},
	"branches": func(s *Store, _ string) (any, error) {
		return branchUse([]*mountinfo.Info{{FSType: "aufs", VFSOptions: "rw,si=1"}}, "/a", s.Path("sys"))
	},
	"old layers": func(s *Store, _ string) (any, error) { return s.oldMounted(".old-open-1", "open") },
	"writers": func(s *Store, _ string) (any, error) {
		_, seen, err := s.SilenceElsewhere("open")
		return seen, err
	},
	"mounted elsewhere":  func(s *Store, _ string) (any, error) { return nil, s.NotMountedElsewhere("open") },
	"processes":          func(*Store, string) (any, error) { return NamespaceLives("mnt:[1]") },
	"branches elsewhere": func(s *Store, _ string) (any, error) { return writableElsewhere(nil, "/a", s.Path("sys")) },
}

func closed(s *Store, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	ids, err := s.List()
	return ids, errors.Join(err, s.Close())
}

// scratch calls try with a new directory. It removes the directory afterwards,
// with everything in it.
func scratch[T any](other string, try func(dir string) (T, error)) (any, error) {
	dir := filepath.Join(other, "scratch")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	v, err := try(dir)
	return v, errors.Join(err, os.RemoveAll(dir))
}

// missing turns an error that says that something is missing into a result.
func missing[T any](v T, err error) (any, error) {
	if errors.Is(err, driver.ErrNotFound) {
		return "none", nil
	}
	return v, err
}

// faultStore makes a store with one layer in each state, and optionally a
// leftover. It also makes a directory with attributes beside the store.
func faultStore(t *testing.T, leftover bool) (s *Store, other string) {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	for id, m := range map[driver.ID]Meta{"open": {}, "sealed": {Sealed: true, Escaped: true, Usage: &driver.Usage{Inodes: 3}}, "torn": {}} {
		dir := s.Path(id)
		m.Version = metaVersion
		b, err := json.Marshal(m)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(dir+"/tree/d/e", 0o755))
		require.NoError(t, errors.Join(os.WriteFile(dir+"/tree/d/f", nil, 0o600), os.Link(dir+"/tree/d/f", dir+"/tree/l")))
		require.NoError(t, os.WriteFile(s.Path(id, RecordName), append(b, '\n'), 0o600))
	}
	require.NoError(t, os.WriteFile(s.Path("torn", mergingName), nil, 0o600))
	require.NoError(t, os.MkdirAll(s.Path("sys", "si_1"), 0o700))
	require.NoError(t, os.WriteFile(s.Path("sys", "si_1", "br0"), []byte("/a=rw\n"), 0o600))
	require.NoError(t, unix.Setxattr(s.Path("open", "tree"), "user.x", []byte("new"), 0))
	require.NoError(t, os.Chmod(s.Path("open", "tree"), 0o711))
	require.NoError(t, os.Chtimes(s.Path("open", "tree"), time.Time{}, fstest.EditTime))
	if leftover {
		require.NoError(t, os.MkdirAll(s.Path(".trash-x-1", "d"), 0o700))
	}
	other = filepath.Join(filepath.Dir(s.root), "other")
	require.NoError(t, os.Mkdir(other, 0o700))
	require.NoError(t, unix.Setxattr(other, "user.old", []byte("old"), 0))
	return s, other
}

// state lists what is in a store and beside it, with the relevant attributes.
// If the store knows of leftovers, state runs Cleanup first.
func state(t *testing.T, s *Store, other string) []string {
	t.Helper()
	s.background.Wait()
	if s.Leftovers() {
		require.NoError(t, s.Cleanup(t.Context()))
	}
	var all []string
	require.NoError(t, filepath.WalkDir(s.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line := strings.TrimPrefix(path, s.root)
		if e.Name() == RecordName {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			line += " " + string(b)
		}
		all = append(all, line)
		return nil
	}))
	tree := fstest.FromPath(t, other)
	for _, path := range tree.Paths() {
		n := tree[path]
		if !n.Mtime.Equal(time.Unix(0, 0)) && !n.Mtime.Equal(fstest.EditTime) {
			n.Mtime = time.Time{}
		}
		all = append(all, path+" "+n.Attrs())
	}
	return all
}

// If a system call on a file fails, the operation returns an error or succeeds
// anyway, and a failed sync is always reported. Afterwards the next try
// succeeds, or reports that the layer is torn.
func TestNoErrorOfASystemCallVanishes(t *testing.T) {
	calls := fstest.NewCalls(t)
	for name, op := range faultOps {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 && (name == "empty attributes" || name == "owners") {
				t.Skip("needs root: chown")
			}
			s, other := faultStore(t, name == "clean up")
			var want any
			var err error
			made, _ := calls.Fail(t, 0, unix.EIO, func() { want, err = op(s, other) })
			require.NoError(t, err)
			s.background.Wait()
			require.False(t, s.Leftovers())
			wantState := state(t, s, other)
			step := 1
			if testing.Short() {
				step = 5
			}
			for n := 1; n <= made; n += step {
				s, other := faultStore(t, name == "clean up")
				var got any
				_, failed := calls.Fail(t, n, unix.EIO, func() { got, err = op(s, other) })
				if err == nil && s.Leftovers() {
					// An error at one layer does not keep Cleanup from the other layers.
					require.Equal(t, "clean up", name, "call %d, %s", n, failed)
					got, err = op(s, other)
					require.False(t, s.Leftovers(), "again after call %d, %s", n, failed)
				}
				if err == nil {
					require.False(t, strings.HasSuffix(failed, "sync") || failed == "syncfs", "call %d, %s", n, failed)
					require.Equal(t, want, got, "call %d, %s", n, failed)
					require.Equal(t, wantState, state(t, s, other), "call %d, %s", n, failed)
					continue
				}
				require.ErrorIs(t, err, unix.EIO, "call %d, %s", n, failed)
				require.NotEqual(t, true, got, "nothing is said beside an error: call %d, %s", n, failed)
				got, err = op(s, other)
				if errors.Is(err, driver.ErrTorn) || name == "become" {
					continue
				}
				require.NoError(t, err, "again after call %d, %s", n, failed)
				require.Equal(t, want, got, "again after call %d, %s", n, failed)
				require.Equal(t, wantState, state(t, s, other), "again after call %d, %s", n, failed)
			}
		})
	}
}

func TestAFileSystemWithoutExclusiveRenamesKeepsWhatIsThere(t *testing.T) {
	calls := fstest.NewCalls(t)
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOSYS, unix.EPERM} {
		dir := t.TempDir()
		from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
		require.NoError(t, os.Mkdir(from, 0o700))
		require.NoError(t, os.MkdirAll(filepath.Join(to, "full"), 0o700))
		var err error
		rename := func() { err = renameNew(from, to) }
		_, failed := calls.Fail(t, 1, errno, rename)
		require.Equal(t, "renameat2", failed)
		require.ErrorIs(t, err, fs.ErrExist)
		require.NoError(t, os.RemoveAll(to))
		calls.Fail(t, 1, errno, rename)
		require.NoError(t, err)
		require.DirExists(t, to)
		calls.Fail(t, 1, unix.EIO, rename)
		require.ErrorIs(t, err, unix.EIO)
	}
}
