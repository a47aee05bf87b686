package layerdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

const (
	// endingPatience is how long AwaitNoWriters waits for processes that are
	// ending. A process in a container often ends shortly after its mount is gone,
	// and its mount namespace has a copy of the mount until then.
	endingPatience = 3 * time.Second
	endingPause    = 20 * time.Millisecond
)

// NotWritableElsewhere makes sure that no process can write to the layer
// through a mount in another mount namespace; see SilenceElsewhere. It returns
// [driver.ErrBusy], naming a process, if one still can. It does not see
// processes that this process may not inspect, nor mount namespaces without a
// process.
func (s *Store) NotWritableElsewhere(ctx context.Context, id driver.ID) error {
	return AwaitNoWriters(ctx, func() error {
		holders, _, err := s.SilenceElsewhere(id)
		if err != nil {
			return err
		}
		return HeldBy(holders)
	})
}

// AwaitNoWriters calls find until find no longer returns [driver.ErrBusy], for
// at most endingPatience. It returns the last result.
func AwaitNoWriters(ctx context.Context, find func() error) error {
	for start := time.Now(); ; {
		err := find()
		if !errors.Is(err, driver.ErrBusy) || time.Since(start) > endingPatience {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(endingPause):
		}
	}
}

// HeldBy returns [driver.ErrBusy] naming the processes that have a layer
// mounted. It returns nil if there are no such processes.
func HeldBy(holders []string) error {
	if len(holders) == 0 {
		return nil
	}
	return fmt.Errorf("%w: it is in use in another mount namespace, by %s", driver.ErrBusy, strings.Join(holders, " and "))
}

// SilenceElsewhere makes writable mounts of the layer in other mount namespaces
// read-only. Most of them are unused copies: a new mount namespace starts with
// a copy of every mount.
//
// SilenceElsewhere returns one process for each namespace in which this was not
// possible. There the layer is the root directory, as in a container, or a file
// of it is open for writing. The result seen is true if some namespace has the
// layer mounted, even if read-only.
func (s *Store) SilenceElsewhere(id driver.ID) (holders []string, seen bool, err error) {
	others, err := otherNamespaces()
	if err != nil {
		return nil, false, err
	}
	for _, n := range others {
		targets, mounted, err := s.mountedIn(n, id)
		if err != nil {
			return nil, false, err
		}
		seen = seen || mounted
		if slices.Contains(targets, "/") || !silence(n.pid, targets) {
			holders = append(holders, processName(n.pid))
		}
	}
	return holders, seen, nil
}

// NotMountedElsewhere returns [driver.ErrBusy], naming a process, if another
// mount namespace has one of the layers mounted, writable or read-only.
func (s *Store) NotMountedElsewhere(ids ...driver.ID) error {
	others, err := otherNamespaces()
	if err != nil {
		return err
	}
	for _, id := range ids {
		var holders []string
		for _, n := range others {
			_, mounted, err := s.mountedIn(n, id)
			if err != nil {
				return err
			}
			if mounted {
				holders = append(holders, processName(n.pid))
			}
		}
		if err := HeldBy(holders); err != nil {
			return fmt.Errorf("layer %s: %w", id, err)
		}
	}
	return nil
}

// silence makes the mounts read-only and reports whether they are now. It
// ignores a process that has ended: its mounts are gone.
func silence(pid int, targets []string) bool {
	for _, target := range targets {
		if err := mount.MakeReadOnlyFor(pid, target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

func procPath(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// processName returns the name of a process for messages: "process 12 (sleep)".
func processName(pid int) string {
	name, err := os.ReadFile(procPath(pid, "comm"))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, strings.ToValidUTF8(strings.TrimSpace(string(name)), "?"))
}

// mountedIn returns the mount points at which a namespace has the layer mounted
// writable, and whether it has the layer mounted at all.
func (s *Store) mountedIn(n namespace, id driver.ID) (writable []string, mounted bool, failed error) {
	path := s.Path(id)
	if !bytes.Contains(n.table, []byte(inMountTable.Replace(Label(path)))) && !bytes.Contains(n.table, []byte("/"+string(id)+"/")) {
		return nil, false, nil
	}
	root := procPath(n.pid, "root")
	_, err := mountinfo.GetMountsFromReader(bytes.NewReader(shortenLines(n.table)), func(m *mountinfo.Info) (skip, stop bool) {
		is, err := isMountOf(root, m, path)
		failed = errors.Join(failed, err)
		if is && !anotherStore(root, m, path) {
			mounted = true
			if useOf(m) == MountedWritable {
				writable = append(writable, m.Mountpoint)
			}
		}
		return true, false
	})
	if err != nil {
		return nil, false, nil // the text is not a mount table
	}
	return writable, mounted, failed
}

// anotherStore reports whether an overlay or aufs in another mount namespace
// belongs to another store that has the same path there. This happens if an
// engine runs in a container.
func anotherStore(root string, m *mountinfo.Info, path string) bool {
	if !isUnion(m) {
		return false
	}
	var theirs, ours unix.Stat_t
	return unix.Stat(path, &ours) == nil && unix.Stat(filepath.Join(root, path), &theirs) == nil &&
		(theirs.Dev != ours.Dev || theirs.Ino != ours.Ino)
}
