package image

import (
	"fmt"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// wantedPlatform is the platform that the caller wants.
type wantedPlatform struct {
	platforms.MatchComparer
	// explicit: the caller named a platform, and the image must match it.
	explicit bool
	text     string
}

// CheckPlatform returns an error that matches [ErrInvalid] for a text that is
// not "os/arch[/variant]". Empty is valid and means the platform of this host.
func CheckPlatform(s string) error {
	_, err := parsePlatform(s)
	return err
}

// parsePlatform reads "os/arch[/variant]". An empty text means this host. A
// platform that the caller named is matched strictly, so that a request for
// amd64 does not silently return a 386 image.
func parsePlatform(s string) (wantedPlatform, error) {
	if s == "" {
		host := platforms.DefaultSpec()
		host.OS = "linux" // layers are unpacked only on Linux
		return wantedPlatform{platforms.Only(host), false, platforms.Format(host)}, nil
	}
	p, err := platforms.Parse(s)
	if err != nil {
		return wantedPlatform{}, fmt.Errorf("%w: platform %q: %w", ErrInvalid, s, err)
	}
	return wantedPlatform{platforms.OnlyStrict(p), true, platforms.Format(p)}, nil
}

// formatPlatform returns a platform as text for messages.
func formatPlatform(p *ocispec.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return "no platform given"
	}
	return platforms.Format(*p)
}

// isPlaceholder reports whether a platform is "unknown/unknown". Builders use
// it for attestations beside the images of an index.
func isPlaceholder(p *ocispec.Platform) bool {
	return p != nil && p.OS == "unknown" && p.Architecture == "unknown"
}
