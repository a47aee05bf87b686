package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
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

// mountsAt lists the mounts at target, the uppermost last.
func mountsAt(target string) ([]*mountinfo.Info, error) {
	found, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.Mountpoint != target, false
	})
	return found, doing(err, "looking for the mount at %q", target)
}

// mountID returns the ID of the uppermost mount at target, 0 for none.
func mountID(target string) (int, error) {
	found, err := mountsAt(target)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return found[len(found)-1].ID, nil
}

// state finds out what has become of the mount.
func (r mountRecord) state() (mountState, error) {
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
	for _, i := range found {
		// Before it is mounted for good a record has no ID; see runMount.
		if r.Where.ID == 0 || r.Where.ID == i.ID {
			return mountLive, nil
		}
	}
	return mountGone, nil
}

// stateElsewhere says whether another mount namespace still exists: whether a
// process lives in it. Processes that we may not look into do not count; as
// root there are none.
func stateElsewhere(namespace string) (mountState, error) {
	links, err := filepath.Glob("/proc/[0-9]*/ns/mnt")
	if err != nil {
		return 0, err
	}
	for _, l := range links {
		ns, err := os.Readlink(l)
		if err == nil && ns == namespace {
			return mountElsewhere, nil
		}
	}
	return mountGone, nil
}
