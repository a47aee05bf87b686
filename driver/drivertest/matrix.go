package drivertest

import (
	"os"
	"slices"
	"testing"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// allFallbacks forces every fast path off.
var allFallbacks = driver.Fallbacks{
	NoOpenat2: true, NoXattrat: true, MountWay: mount.WayMount2, NoReflink: true, NoCopyRange: true, UserXattr: true, SingleThread: true,
	NoFchmodat2: true, NoMetadataOpt: true, NoSimpleQuota: true, NoOverlay: true,
}

// variant is one place and way to run the suite.
type variant struct {
	name string
	fs   fstest.FS
	opts driver.Options
	run  func(*testing.T, Config)
	// overlay: it only tells something where overlays are mounted.
	overlay bool
	// prepare, when set, does something to the file system and returns the
	// directory to use.
	prepare func(tb testing.TB, dir string) string
}

func without(f driver.Fallbacks) driver.Options { return driver.Options{Fallbacks: f} }

// variants are those that tell something of the backend. The whole suite runs
// on the first of the file systems that it can live on.
func (cfg Config) variants(tb testing.TB) []variant {
	return slices.DeleteFunc(variants(cfg.filesystems(tb)), func(v variant) bool { return v.overlay && !cfg.Overlays })
}

func variants(filesystems []fstest.FS) []variant {
	first := filesystems[0]
	on := string(first)
	vs := []variant{
		{name: on, fs: first, run: Run},
		{name: on + " without any fast path", fs: first, opts: without(allFallbacks), run: Run},
	}
	for _, fs := range filesystems[1:] {
		vs = append(vs, variant{name: string(fs), fs: fs, run: RunSemantics})
	}
	if first == fstest.Btrfs {
		return append(append(vs, special(first)...), btrfsPlaces()...)
	}
	vs = append(vs, []variant{
		{name: on + " without openat2", fs: first, opts: without(driver.Fallbacks{NoOpenat2: true}), run: runBrief},
		{name: on + " without the new mount API", fs: first, opts: without(driver.Fallbacks{MountWay: mount.WayMount2}), run: runBrief, overlay: true},
		{name: on + " without fchmodat2", fs: first, opts: without(driver.Fallbacks{NoFchmodat2: true}), run: runBrief},
		{name: on + " with one thread", fs: first, opts: without(driver.Fallbacks{SingleThread: true}), run: runBrief},
	}...)
	for _, fs := range filesystems {
		vs = append(vs, special(fs)...)
	}
	return vs
}

// special are the variants that only tell something on one file system.
func special(fs fstest.FS) []variant {
	switch fs {
	case fstest.Tmpfs:
		return []variant{
			{name: "tmpfs, overlay without escapes", fs: fs, opts: without(driver.Fallbacks{NoEscape: true}), run: runBrief, overlay: true},
			{name: "tmpfs, overlays by strings", fs: fs, opts: without(driver.Fallbacks{MountWay: mount.WayStrings}), run: runBrief, overlay: true},
			{name: "tmpfs with user attributes", fs: fs, opts: without(driver.Fallbacks{UserXattr: true}), run: runBrief, overlay: true},
			{name: "tmpfs without redirects and metacopy", fs: fs, opts: without(driver.Fallbacks{NoMetadataOpt: true}), run: runBrief, overlay: true},
			{name: "tmpfs with metacopy", fs: fs, opts: driver.Options{Metacopy: true}, run: runBrief, overlay: true},
		}
	case fstest.Ext4:
		return []variant{
			{name: "ext4 with small inodes", fs: fstest.Ext4SmallInodes, run: runTimes},
			{name: "ext4 without copy_file_range", fs: fs, opts: without(driver.Fallbacks{NoReflink: true, NoCopyRange: true}), run: runBrief},
		}
	case fstest.XFS:
		return []variant{
			{name: "xfs without bigtime", fs: fstest.XFSNoBigtime, run: runTimes},
			{name: "xfs without reflinks", fs: fs, opts: without(driver.Fallbacks{NoReflink: true}), run: runBrief},
			{name: "xfs with metacopy", fs: fs, opts: driver.Options{Metacopy: true}, run: runBrief, overlay: true},
		}
	default:
		return []variant{
			{name: "btrfs without reflinks and openat2", fs: fs, opts: without(driver.Fallbacks{NoOpenat2: true, NoReflink: true}), run: runBrief},
		}
	}
}

// btrfsPlaces are for a backend that keeps layers in ways only a btrfs has.
func btrfsPlaces() []variant {
	const fs = fstest.Btrfs
	return []variant{
		{name: "a mounted sub-directory of a btrfs", fs: fs, run: runBrief, prepare: fstest.BindSubdirectory},
		{name: "a mounted subvolume of a btrfs", fs: fs, run: runBrief, prepare: fstest.BindSubvolume},
		{name: "btrfs with simple quotas switched on", fs: fs, run: runQuota, prepare: fstest.SimpleQuotas},
		{name: "btrfs with qgroups switched on", fs: fs, run: runQuota, prepare: fstest.Qgroups},
	}
}

// RunMatrix runs the suite on scratch file systems of every kind that the
// backend can live on, and with every fast path forced off, alone and together.
// With -short it runs the whole suite once, on the first of them. Without root
// it skips; see [RunUnprivileged].
func RunMatrix(t *testing.T, cfg Config) {
	if os.Geteuid() != 0 {
		t.Skip("scratch file systems and files of other owners need root; the part that does not runs in a user namespace")
	}
	if !slices.Equal(cfg.filesystems(t), cfg.wanted()) {
		t.Run(string(fstest.Tmpfs), func(t *testing.T) { t.Skip("a tmpfs keeps no user attributes before Linux 6.6") })
	}
	for _, v := range cfg.variants(t) {
		t.Run(v.name, func(t *testing.T) {
			cfg := cfg
			cfg.Dir = fstest.Scratch(t, v.fs)
			cfg.Options = v.opts
			if v.prepare != nil {
				cfg.Dir = v.prepare(t, cfg.Dir)
			}
			v.run(t, cfg)
		})
		if testing.Short() {
			return
		}
	}
}

// filesystems are those that the suite runs on. It wants user attributes, which
// a tmpfs of old kernels does not have.
func (cfg Config) filesystems(tb testing.TB) []fstest.FS {
	list := cfg.wanted()
	if !slices.Contains(list, fstest.Tmpfs) || fstest.TmpfsKeepsUserXattrs(tb) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(fs fstest.FS) bool { return fs == fstest.Tmpfs })
}

func (cfg Config) wanted() []fstest.FS {
	if cfg.Filesystems != nil {
		return cfg.Filesystems
	}
	return fstest.All()
}
