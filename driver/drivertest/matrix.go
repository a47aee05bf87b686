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
	NoFchmodat2: true, NoMetadataOpt: true,
}

// variant is one place and way to run the suite.
type variant struct {
	name string
	fs   fstest.FS
	fall driver.Fallbacks
	run  func(*testing.T, Config)
}

func variants() []variant {
	return []variant{
		{"tmpfs", fstest.Tmpfs, driver.Fallbacks{}, Run},
		{"tmpfs without any fast path", fstest.Tmpfs, allFallbacks, Run},
		{"ext4", fstest.Ext4, driver.Fallbacks{}, RunSemantics},
		{"xfs", fstest.XFS, driver.Fallbacks{}, RunSemantics},
		{"btrfs", fstest.Btrfs, driver.Fallbacks{}, RunSemantics},
		{"xfs without reflinks", fstest.XFS, driver.Fallbacks{NoReflink: true}, RunSemantics},
		{"ext4 without copy_file_range", fstest.Ext4, driver.Fallbacks{NoReflink: true, NoCopyRange: true}, RunSemantics},
		{"btrfs without any fast path", fstest.Btrfs, allFallbacks, RunSemantics},
		{"tmpfs without openat2", fstest.Tmpfs, driver.Fallbacks{NoOpenat2: true}, RunSemantics},
		{"tmpfs without the new mount API", fstest.Tmpfs, driver.Fallbacks{NoMountAPI: true}, RunSemantics},
		{"tmpfs without fchmodat2", fstest.Tmpfs, driver.Fallbacks{NoFchmodat2: true}, RunSemantics},
		{"tmpfs with one thread", fstest.Tmpfs, driver.Fallbacks{SingleThread: true}, RunSemantics},
		{"tmpfs with user attributes", fstest.Tmpfs, driver.Fallbacks{UserXattr: true}, RunSemantics},
		{"tmpfs without redirects and metacopy", fstest.Tmpfs, driver.Fallbacks{NoMetadataOpt: true}, RunSemantics},
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
			cfg.Options.Fallbacks = v.fall
			v.run(t, cfg)
		})
		if testing.Short() {
			return
		}
	}
}
