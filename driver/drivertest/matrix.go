package drivertest

import (
	"os"
	"testing"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// allFallbacks forces every fast path off.
var allFallbacks = driver.Fallbacks{
	NoOpenat2: true, NoMountAPI: true, NoReflink: true, NoCopyRange: true, UserXattr: true, SingleThread: true,
	NoFchmodat2: true, NoMetadataOpt: true, NoSimpleQuota: true,
}

// variant is one place and way to run the suite.
type variant struct {
	name string
	fs   fstest.FS
	opts driver.Options
	run  func(*testing.T, Config)
}

func variants() []variant {
	without := func(f driver.Fallbacks) driver.Options { return driver.Options{Fallbacks: f} }
	return []variant{
		{"tmpfs", fstest.Tmpfs, driver.Options{}, Run},
		{"tmpfs without any fast path", fstest.Tmpfs, without(allFallbacks), Run},
		{"ext4", fstest.Ext4, driver.Options{}, RunSemantics},
		{"xfs", fstest.XFS, driver.Options{}, RunSemantics},
		{"btrfs", fstest.Btrfs, driver.Options{}, RunSemantics},
		{"xfs without reflinks", fstest.XFS, without(driver.Fallbacks{NoReflink: true}), runBrief},
		{"ext4 without copy_file_range", fstest.Ext4, without(driver.Fallbacks{NoReflink: true, NoCopyRange: true}), runBrief},
		{"btrfs without any fast path", fstest.Btrfs, without(allFallbacks), runBrief},
		{"tmpfs without openat2", fstest.Tmpfs, without(driver.Fallbacks{NoOpenat2: true}), RunSemantics},
		{"tmpfs without the new mount API", fstest.Tmpfs, without(driver.Fallbacks{NoMountAPI: true}), runBrief},
		{"tmpfs without fchmodat2", fstest.Tmpfs, without(driver.Fallbacks{NoFchmodat2: true}), runBrief},
		{"tmpfs with one thread", fstest.Tmpfs, without(driver.Fallbacks{SingleThread: true}), runBrief},
		{"tmpfs with user attributes", fstest.Tmpfs, without(driver.Fallbacks{UserXattr: true}), RunSemantics},
		{"tmpfs without redirects and metacopy", fstest.Tmpfs, without(driver.Fallbacks{NoMetadataOpt: true}), runBrief},
		{"tmpfs with metacopy", fstest.Tmpfs, driver.Options{Metacopy: true}, runBrief},
		{"xfs with metacopy", fstest.XFS, driver.Options{Metacopy: true}, runBrief},
	}
}

// RunMatrix runs the suite on scratch file systems of every kind, and with every
// fast path forced off, alone and together. With -short it runs the whole suite
// once, on a tmpfs. Without root it skips; see [RunUnprivileged].
func RunMatrix(t *testing.T, cfg Config) {
	if os.Geteuid() != 0 {
		t.Skip("scratch file systems and files of other owners need root; the part that does not runs in a user namespace")
	}
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			cfg := cfg
			cfg.Dir = fstest.Scratch(t, v.fs)
			cfg.Options = v.opts
			v.run(t, cfg)
		})
		if testing.Short() {
			return
		}
	}
}
