package drivertest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/aufs/aufstest"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/drivertest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// TestRandomStacksAreTheSameEverywhere compares all backends with the model and
// with each other; see [drivertest.RunProperties]. What one of them cannot do,
// it leaves out. For a long run:
//
//	LAYERKEEP_PROPERTY_CHECKS=10000 go test ./driver/drivertest -timeout 6h
func TestRandomStacksAreTheSameEverywhere(t *testing.T) {
	run(t, subjects(t, driver.Options{}, nil))
}

// The same with every fast path forced off, and with metacopy.
func TestRandomStacksAreTheSameWithoutFastPaths(t *testing.T) {
	run(t, subjects(t, driver.Options{Fallbacks: driver.Fallbacks{
		NoOpenat2: true, NoXattrat: true, MountWay: mount.WayMount2, NoReflink: true, NoCopyRange: true, UserXattr: true, SingleThread: true,
		NoFchmodat2: true, NoMetadataOpt: true, NoSimpleQuota: true, NoOverlay: true,
	}}, nil))
}

// Metacopy needs redirects, and a backend that renames directories is compared
// with others that do.
func TestRandomStacksAreTheSameWhereDirectoriesCanBeRenamed(t *testing.T) {
	run(t, subjects(t, driver.Options{Metacopy: true}, func(p driver.Properties) bool { return p.RenameDir }))
}

// Each backend by itself: where it breaks hard links, so may the edits.
func TestRandomStacksAreTheSameOnEachBackendAlone(t *testing.T) {
	alone := subjects(t, driver.Options{}, nil)
	alone = append(alone, subjects(t, driver.Options{Metacopy: true}, func(p driver.Properties) bool {
		return p.RenameDir && p.BreaksHardlinks
	})...)
	for _, s := range alone {
		t.Run(s.Name, func(t *testing.T) { run(t, []drivertest.Subject{s}) })
	}
}

func run(t *testing.T, subjects []drivertest.Subject) {
	t.Helper()
	require.NotEmpty(t, subjects)
	drivertest.RunProperties(t, subjects)
}

// subjects are the backends that work on this machine and have the properties,
// each on a scratch file system of its own.
func subjects(t *testing.T, opts driver.Options, want func(driver.Properties) bool) []drivertest.Subject {
	t.Helper()
	if !fstest.CanMount(t) {
		t.Skip("random edits need mounts, which are not permitted here")
	}
	scratch := fstest.Tmpfs
	if !fstest.TmpfsKeepsUserXattrs(t) {
		scratch = fstest.Ext4
	}
	var subjects []drivertest.Subject
	for _, b := range all.Backends() {
		var props driver.Properties
		works := func(dir string) error {
			d, err := b.New(t.Context(), filepath.Join(dir, "probe"), opts)
			if err != nil {
				return err
			}
			props = d.Properties()
			return d.Close()
		}
		dir := fstest.Scratch(t, scratch)
		if err := works(dir); err != nil && !strings.Contains(kernelFilesystems(t), "\tbtrfs\n") {
			t.Logf("%s is left out: %v, and the kernel has no btrfs", b.Name, err)
			continue
		}
		dir = fstest.Place(t, dir, works)
		if want != nil && !want(props) {
			continue
		}
		cfg := drivertest.Config{New: b.New, Options: opts, Dir: dir, Editor: editor}
		subjects = append(subjects, drivertest.Subject{Name: b.Name, Config: cfg})
	}
	return subjects
}

func kernelFilesystems(t *testing.T) string {
	t.Helper()
	list, err := os.ReadFile("/proc/filesystems")
	require.NoError(t, err)
	return string(list)
}

// editor edits the layers of a backend that cannot mount them, which is aufs
// where the kernel lacks it.
func editor(dir string, id driver.ID, parents []driver.ID) drivertest.Editor {
	branch := func(id driver.ID) string { return filepath.Join(dir, "diff", string(id)) }
	var lower []string
	for _, p := range parents {
		lower = append(lower, branch(p))
	}
	return aufstest.New(branch(id), lower).KeepTimes()
}
