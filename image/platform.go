package image

import (
	"fmt"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// wantedPlatform is what the caller said about the platform.
type wantedPlatform struct {
	platforms.MatchComparer
	// explicit: a platform was asked for and has to be met.
	explicit bool
	text     string
}

// CheckPlatform returns an error that matches [ErrInvalid] for a text that is
// not "os/arch[/variant]". Empty is valid and means the platform of this host.
func CheckPlatform(s string) error {
	_, err := parsePlatform(s)
	return err
}

// parsePlatform reads "os/arch[/variant]"; empty means the host. An explicit
// platform is matched strictly: who asks for amd64 does not want to be given a
// 386 image silently.
func parsePlatform(s string) (wantedPlatform, error) {
	if s == "" {
		host := platforms.DefaultSpec()
		host.OS = "linux" // layers are only ever unpacked on Linux
		return wantedPlatform{platforms.Only(host), false, platforms.Format(host)}, nil
	}
	p, err := platforms.Parse(s)
	if err != nil {
		return wantedPlatform{}, fmt.Errorf("%w: platform %q: %w", ErrInvalid, s, err)
	}
	return wantedPlatform{platforms.OnlyStrict(p), true, platforms.Format(p)}, nil
}

// formatPlatform is for messages.
func formatPlatform(p *ocispec.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return "no platform given"
	}
	return platforms.Format(*p)
}

// isPlaceholder reports the platform "unknown/unknown", under which builders
// put attestations beside the images of an index.
func isPlaceholder(p *ocispec.Platform) bool {
	return p != nil && p.OS == "unknown" && p.Architecture == "unknown"
}
