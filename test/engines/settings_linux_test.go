package engines

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// snapshotter is what the proxy plugins of the tests are called in containerd.
const snapshotter = "layerkeep"

// settings is how a containerd uses a service.
type settings struct {
	snapshotter  string // layerkeep when empty
	rebase       bool   // the capability of the snapshotter
	differ       bool   // our differ before containerd's own
	unpacks      int    // layers unpacked at a time by the transfer service; 0: its default
	noSnapshots  bool   // only containerd's own snapshotters
	capabilities []string
	deployed     string // a file of deploy/containerd instead of all else
}

// fragment writes the settings as TOML for a containerd of the version given.
func (o settings) fragment(version, address string) string {
	var b strings.Builder
	capabilities := slices.Clone(o.capabilities)
	name, differ := snapshotter, "walking"
	if o.snapshotter != "" {
		name = o.snapshotter
	}
	if o.rebase {
		capabilities = append(capabilities, "rebase")
	}
	if o.differ {
		differ = "layerkeep-diff"
		fmt.Fprintf(&b, "[plugins.\"io.containerd.service.v1.diff-service\"]\ndefault = [\"layerkeep-diff\", \"walking\"]\n")
	}
	if !strings.HasPrefix(version, "1.") {
		b.WriteString("[plugins.\"io.containerd.transfer.v1.local\"]\n")
		if o.unpacks > 0 {
			fmt.Fprintf(&b, "max_concurrent_unpacks = %d\n", o.unpacks)
		}
		fmt.Fprintf(&b, "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\nplatform = %q\nsnapshotter = %q\ndiffer = %q\n",
			"linux/"+runtime.GOARCH, name, differ)
	}
	if !o.noSnapshots {
		b.WriteString(proxySnapshotter(snapshotter, address, capabilities...))
	}
	if o.differ {
		fmt.Fprintf(&b, "[proxy_plugins.layerkeep-diff]\ntype = \"diff\"\naddress = %q\n", address)
	}
	return b.String()
}
