package layerdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// sysfsAUFS has one directory si_ID for each aufs, which lists the branches.
// The mount table names only the ID.
const sysfsAUFS = "/sys/fs/aufs"

// BranchUse reports whether the directory at path is a branch of an aufs in
// this mount namespace. It returns MountedWritable if the aufs can write to the
// branch.
func BranchUse(path string) (Use, error) {
	table, err := mounts(mountinfo.FSTypeFilter("aufs"))
	if err != nil {
		return Unmounted, err
	}
	return branchUse(table, path, sysfsAUFS)
}

// Sources returns the sources of all mounts of one file system type in this
// mount namespace. For the source of a layer see [Label].
func Sources(fsType string) (map[string]bool, error) {
	table, err := mounts(mountinfo.FSTypeFilter(fsType))
	if err != nil {
		return nil, err
	}
	sources := map[string]bool{}
	for _, m := range table {
		sources[m.Source] = true
	}
	return sources, nil
}

// BranchWritableElsewhere reports whether the directory at path is a writable
// branch of an aufs that is not mounted in this mount namespace. If the aufs
// module was loaded with brs=1, sysfs lists no branches and the result is
// always false.
func BranchWritableElsewhere(path string) (bool, error) {
	table, err := mounts(mountinfo.FSTypeFilter("aufs"))
	if err != nil {
		return false, err
	}
	return writableElsewhere(table, path, sysfsAUFS)
}

// writableElsewhere is BranchWritableElsewhere for a given mount table and a
// given directory in place of sysfsAUFS.
func writableElsewhere(table []*mountinfo.Info, path, sysfs string) (bool, error) {
	entries, err := os.ReadDir(sysfs)
	if errors.Is(err, fs.ErrNotExist) { // a kernel without aufs
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), "si_")
		if !ok {
			continue
		}
		here := slices.ContainsFunc(table, func(m *mountinfo.Info) bool {
			return slices.Contains(strings.Split(m.VFSOptions, ","), "si="+id)
		})
		if here {
			continue
		}
		branches, err := readBranches(filepath.Join(sysfs, e.Name()))
		if err != nil {
			return false, err
		}
		for _, b := range branches {
			branch, perm, _ := cutLast(b, "=")
			if filepath.Clean(branch) == path && strings.HasPrefix(perm, "rw") {
				return true, nil
			}
		}
	}
	return false, nil
}

// branchUse is BranchUse for a given mount table and a given directory in place
// of sysfsAUFS.
func branchUse(table []*mountinfo.Info, path, sysfs string) (Use, error) {
	use := Unmounted
	for _, m := range table {
		if m.FSType != "aufs" {
			continue
		}
		branches, err := branchesOf(m, sysfs)
		if err != nil {
			return use, err
		}
		for _, b := range branches {
			dir, perm, _ := cutLast(b, "=")
			if filepath.Clean(dir) != path {
				continue
			}
			this := MountedReadOnly
			if strings.HasPrefix(perm, "rw") && !isReadOnly(m.VFSOptions) && !isReadOnly(m.Options) {
				this = MountedWritable
			}
			use = max(use, this)
		}
	}
	return use, nil
}

// branchesOf lists the branches of an aufs, each as PATH=PERMISSION. If the
// aufs module was loaded with brs=1, the branches are in the mount table.
// Otherwise they are in sysfs.
func branchesOf(m *mountinfo.Info, sysfs string) ([]string, error) {
	var id string
	for _, o := range strings.Split(m.VFSOptions, ",") {
		if list, ok := strings.CutPrefix(o, "br:"); ok {
			return strings.Split(list, ":"), nil
		}
		if v, ok := strings.CutPrefix(o, "si="); ok {
			id = v
		}
	}
	if id == "" || strings.ContainsAny(id, "/.") {
		return nil, nil
	}
	return readBranches(filepath.Join(sysfs, "si_"+id))
}

// readBranches reads the files br0, br1 and so on in a directory of sysfs, and
// skips other files such as brid0. It returns nothing if the aufs was unmounted
// meanwhile.
func readBranches(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var branches []string
	for _, e := range entries {
		n, ok := strings.CutPrefix(e.Name(), "br")
		if !ok || n == "" || strings.Trim(n, "0123456789") != "" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		branches = append(branches, strings.TrimSuffix(string(b), "\n"))
	}
	return branches, nil
}

// cutLast is [strings.Cut] at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
