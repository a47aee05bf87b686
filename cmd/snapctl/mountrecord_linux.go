package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// place says where we are: this boot, this mount namespace.
func place() (mountPlace, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return mountPlace{}, doing(err, "asking for the boot ID")
	}
	ns, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return mountPlace{}, doing(err, "asking for the mount namespace")
	}
	return mountPlace{Boot: strings.TrimSpace(string(boot)), Namespace: ns}, nil
}

// mountsAt lists the IDs of the mounts at target, the uppermost last.
func mountsAt(target string) (ids []int, err error) {
	err = eachMountAt(target, func(fields []string) error {
		id, err := strconv.Atoi(fields[0])
		ids = append(ids, id)
		return err
	})
	return ids, doing(err, "looking for the mount at %q", target)
}

// readOnlyMountAt returns the uppermost mount at target, nil when there is none
// or it is writable.
func readOnlyMountAt(target string) (top *tableEntry, err error) {
	err = eachMountAt(target, func(fields []string) error {
		top = nil
		// Options, optional fields, a dash, type, source, and the options of the file
		// system.
		_, rest, ok := strings.Cut(fields[5], " - ")
		of := strings.Fields(rest)
		if !ok || len(of) < 3 {
			return nil
		}
		options, _, _ := strings.Cut(fields[5], " ")
		if hasOption(options, "ro") || hasOption(of[2], "ro") {
			top = &tableEntry{target: target, fsType: of[0], source: unescapeOctal(of[1])}
		}
		return nil
	})
	return top, doing(err, "looking for the mount at %q", target)
}

func hasOption(list, name string) bool { return slices.Contains(strings.Split(list, ","), name) }

// eachMountAt calls fn with the first five fields and the rest of the line of
// each mount at target, the uppermost last. It reads /proc/self/mountinfo
// (proc_pid_mountinfo(5)) with no limit on the length of a line: that of an
// overlay with 500 lower directories can have 100 kB.
func eachMountAt(target string, fn func(fields []string) error) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		// ID, parent, device, root, mount point, and more.
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(fields) < 6 || unescapeOctal(fields[4]) != target {
			continue
		}
		if err := fn(fields); err != nil {
			return err
		}
	}
	return nil
}

// unescapeOctal undoes the kernel's escapes of blanks and backslashes: \ooo.
func unescapeOctal(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// mountID returns the ID of the uppermost mount at target, 0 for none.
func mountID(target string) (int, error) {
	found, err := mountsAt(target)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return found[len(found)-1], nil
}

// syncMount puts what was written to a mount on the disk.
func syncMount(target string) error {
	dir, err := os.Open(target)
	if errors.Is(err, fs.ErrPermission) { // its root directory need not be readable
		unix.Sync()
		return nil
	}
	if err != nil {
		return doing(err, "syncing %q: what was written to it last may be lost in a power cut", target)
	}
	defer func() { _ = dir.Close() }() // it was only read
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return doing(err, "syncing %q: what was written to it last may be lost", target)
	}
	return nil
}

// state finds out what has become of the mount.
func (r mountRecord) state() (mountState, error) {
	if r.unreadable {
		return mountGone, nil
	}
	here, err := place()
	if err != nil {
		return 0, err
	}
	switch {
	case r.Where.Boot != here.Boot:
		return mountGone, nil
	case r.Where.Namespace != here.Namespace:
		return stateElsewhere(r.Where.Namespace)
	}
	found, err := mountsAt(r.Target)
	if err != nil {
		return 0, err
	}
	for _, id := range found {
		// Until it is mounted a record has no ID; see store.mount.
		if r.Where.ID == 0 || r.Where.ID == id {
			return mountLive, nil
		}
	}
	return mountGone, nil
}

// stateElsewhere says whether another mount namespace still exists: whether a
// process lives in it. Processes that we may not look into do not count; as
// root there are none.
func stateElsewhere(namespace string) (mountState, error) {
	lives, err := layerdir.NamespaceLives(namespace)
	if err != nil || !lives {
		return mountGone, err
	}
	return mountElsewhere, nil
}
