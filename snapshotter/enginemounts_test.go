package snapshotter

import (
	"testing"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/stretchr/testify/require"
)

func TestEnginesGetOverlaysWithNoOptionsButThoseThatTheyKnow(t *testing.T) {
	given := []ctdmount.Mount{
		{Type: "overlay", Source: "x", Options: []string{"rw", "lowerdir=/a:/b", "upperdir=/u", "workdir=/w", "index=off", "xino=off", "uuid=null", "redirect_dir=on", "metacopy=off"}},
		{Type: "overlay", Source: "y", Options: []string{"ro", "lowerdir=/a:/b", "index=off", "userxattr"}},
		{Type: "overlay", Source: "v", Options: []string{"ro", "lowerdir=/e", `upperdir=/u:\,`, "workdir=/w", "index=off"}},
		{Type: "bind", Source: "/z", Options: []string{"bind", "ro"}},
	}
	require.Equal(t, []ctdmount.Mount{
		{Type: "overlay", Source: "x", Options: []string{"lowerdir=/a:/b", "upperdir=/u", "workdir=/w", "index=off", "redirect_dir=follow"}},
		{Type: "overlay", Source: "y", Options: []string{"lowerdir=/a:/b", "index=off", "userxattr"}},
		{Type: "overlay", Source: "v", Options: []string{`lowerdir=/u\:\,:/e`, "index=off"}},
		{Type: "bind", Source: "/z", Options: []string{"bind", "ro"}},
	}, engineMounts(given))
	require.Contains(t, given[0].Options, "rw", "what was given stays as it is")
	require.Empty(t, engineMounts(nil))
}
