package engines

import (
	"testing"
)

func TestContainerd16(t *testing.T) {
	requirements(t, "containerd", "ctr")
	for _, backend := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run("images and containers on "+backend, func(t *testing.T) {
			newLife(t, "", backend, settings{deployed: "config-1.6.toml"}).whole(t)
		})
	}
}

func TestContainerd17(t *testing.T) {
	requirements(t, containerd17+"/containerd", containerd17+"/ctr", containerd17+"/containerd-shim-runc-v2")
	for _, backend := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run("images and containers on "+backend, func(t *testing.T) {
			newLife(t, containerd17, backend, settings{deployed: "config-1.7.toml"}).whole(t)
		})
	}
}

func TestContainerd24(t *testing.T) {
	requirements(t, containerd2+"/containerd", containerd2+"/ctr", containerd2+"/containerd-shim-runc-v2")
	for _, backend := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run("images and containers on "+backend, func(t *testing.T) {
			newLife(t, containerd2, backend, settings{deployed: "config-2.toml"}).whole(t)
		})
	}
	t.Run("images and containers with containerd's own differ", func(t *testing.T) {
		newLife(t, containerd2, "overlay2", settings{}).whole(t)
	})
}
