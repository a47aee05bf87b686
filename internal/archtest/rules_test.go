package archtest

import (
	"slices"
	"strings"
)

// A rule lists the packages of this module that a package may import. The
// arrows point downwards: commands, images, life cycle, backends, contract,
// change model and layer streams, system calls.
type rule []string

func (r rule) allows(pkg string) bool { return slices.Contains(r, suiteOf(pkg)) }

// suiteOf counts the parts of the conformance suite as one package.
func suiteOf(pkg string) string {
	if strings.HasPrefix(pkg, "driver/drivertest/") {
		return "driver/drivertest"
	}
	return pkg
}

func isTestOnly(pkg string) bool { return slices.Contains(testOnly, suiteOf(pkg)) }

// Shorthands for rules.
var (
	low      = []string{"internal/sys", "internal/attrs", "internal/errkind", "internal/keylock", "internal/rootfd", "internal/whiteout", "internal/durable", "internal/rmtree", "internal/ownfiles"}
	backend  = append([]string{"driver", "mount", "diff", "tar", "internal/layerlife", "internal/layerdir"}, low...)
	backends = []string{"overlay2", "btrfs", "aufs", "vfs"}
	services = []string{"internal/service/config", "internal/service/differ", "internal/service/graphdriver", "internal/service/grpcerr", "internal/service/metrics", "internal/service/storeservice"}
	testOnly = []string{"internal/fstest", "internal/testrun", "internal/resultdoc", "scripts/testrun", "driver/all/alltest", "driver/drivertest", "diff/difftest", "aufs/aufstest", "test/robustness/cutdisk"}
)

// rules has one line for every package that is no command.
var rules = map[string]rule{
	".":                             {"check", "image", "snapshotter", "snapshotter/meta", "driver", "diff", "mount"},
	"diff":                          append([]string{}, low...),
	"mount":                         {"internal/sys", "internal/rootfd"},
	"tar":                           append([]string{"diff"}, low...),
	"driver":                        {"mount", "diff", "tar"},
	"driver/all":                    append([]string{"driver", "internal/layerdir"}, backends...),
	"overlay2":                      backend,
	"btrfs":                         append([]string{"internal/subvol", "internal/copytree"}, backend...),
	"aufs":                          backend,
	"vfs":                           append([]string{"internal/copytree"}, backend...),
	"snapshotter":                   append([]string{"driver", "driver/all", "mount", "diff", "tar", "snapshotter/meta"}, low...),
	"snapshotter/meta":              {"internal/durable", "internal/ownfiles"},
	"image":                         append([]string{"snapshotter", "snapshotter/meta", "driver", "diff", "tar", "mount", "internal/recipe"}, low...),
	"check":                         {"image", "snapshotter", "snapshotter/meta", "driver", "diff", "tar"},
	"repair":                        {"check", "image", "snapshotter", "snapshotter/meta", "driver", "internal/durable"},
	"internal/service":              append([]string{".", "snapshotter", "snapshotter/meta", "driver", "mount", "image", "check", "internal/errkind"}, services...),
	"internal/service/config":       {"driver", "driver/all"},
	"internal/service/grpcerr":      {"check", "driver", "image", "mount", "snapshotter", "snapshotter/meta", "diff", "tar"},
	"internal/service/differ":       {"internal/errkind", "snapshotter", "driver", "diff", "tar", "mount", "internal/service/grpcerr"},
	"internal/service/storeservice": {".", "check", "snapshotter", "snapshotter/meta", "image", "driver", "diff", "mount", "tar", "internal/service/grpcerr", "api/store/v1", "internal/storewire"},
	"internal/storewire":            {"check", "snapshotter", "image", "driver", "diff", "mount", "api/store/v1"},
	"internal/service/graphdriver":  {"internal/keylock", "snapshotter", "driver", "diff", "tar", "mount", "internal/service/grpcerr"},
	"internal/service/metrics":      {"snapshotter", "snapshotter/meta", "driver", "internal/service/grpcerr"},
	"client":                        {".", "check", "snapshotter", "image", "driver", "diff", "mount", "tar", "internal/service/grpcerr", "api/store/v1", "internal/storewire"},
	"api/store/v1":                  {},
	"internal/sys":                  {},
	"internal/errkind":              {},
	"internal/keylock":              {},
	"internal/attrs":                {"internal/sys", "internal/whiteout"},
	"internal/rootfd":               {"internal/sys"},
	"internal/rmtree":               {"internal/sys"},
	"internal/whiteout":             {"internal/sys"},
	"internal/durable":              {"internal/sys"},
	"internal/ownfiles":             {},
	"internal/privilege":            {"internal/sys"},
	"internal/recipe":               {"diff"},
	"internal/subvol":               {"internal/sys"},
	"internal/copytree":             {"internal/sys", "internal/attrs", "internal/errkind", "internal/keylock", "internal/rootfd", "internal/whiteout"},
	"internal/layerdir":             append([]string{"driver", "diff", "tar", "mount"}, low...),
	"internal/layerlife":            {"driver", "diff", "tar", "mount", "internal/layerdir"},
	"internal/archtest":             {},
	"scripts/testreport":            {},
	"bench":                         {"bench/disk", "bench/synth", "driver", "driver/all", "mount", "internal/copytree", "internal/layerdir", "internal/rootfd"},
	"bench/disk":                    {"driver", "internal/copytree", "internal/rmtree", "internal/subvol"},
	"bench/synth":                   {},
	"bench/report":                  {"bench", "internal/durable"},

	// For tests only; they may use what they test.
	"driver/all/alltest": {"driver", "driver/all", "internal/fstest"},
	"aufs/aufstest":      append([]string{"diff", "internal/fstest"}, low...),
	"diff/difftest":      append([]string{"diff", "internal/fstest"}, low...),
	"internal/testrun":   {},
	"internal/resultdoc": {},
	"internal/fstest":    append([]string{"diff", "mount", "internal/testrun"}, low...),
	"driver/drivertest":  append([]string{"driver", "mount", "diff", "tar", "internal/fstest", "driver/drivertest"}, low...),
	"test/realimage":     {},
	"test/engines":       {},
	"test/kernels":       {},
	"test/large":         {},
	"test/robustness":    {},

	"test/robustness/cutdisk": {},
}
