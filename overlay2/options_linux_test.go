package overlay2

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/mount"
)

func TestMountOptionsSayWhatDiffersBetweenKernels(t *testing.T) {
	for name, c := range map[string]struct {
		has      mount.Features
		metacopy bool
		fallback driver.Fallbacks
		want     []string
	}{
		"an old kernel": {want: []string{"index=off"}},
		"a new one": {
			has:  mount.Features{Xino: true, UUID: true, RedirectDir: true, Metacopy: true},
			want: []string{"index=off", "xino=off", "uuid=null", "redirect_dir=on", "metacopy=off"},
		},
		"a layer with metacopy": {
			has: mount.Features{RedirectDir: true, Metacopy: true}, metacopy: true,
			want: []string{"index=off", "redirect_dir=on", "metacopy=on"},
		},
		"a layer with metacopy, where the kernel has none": {has: mount.Features{RedirectDir: true}, metacopy: true, want: []string{"index=off", "redirect_dir=on"}},
		"neither is to be used":                            {fallback: driver.Fallbacks{NoMetadataOpt: true}, want: []string{"index=off", "redirect_dir=off", "metacopy=off"}},
		"in a user namespace":                              {has: mount.Features{UserXattr: true}, metacopy: true, want: []string{"index=off", "userxattr"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := &backend{opts: driver.Options{Fallbacks: c.fallback}}
			d.features = c.has
			require.Equal(t, c.want, d.options(layerdir.Meta{Metacopy: c.metacopy}))
		})
	}
}
