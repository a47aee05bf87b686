package image

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A candidate is one image in a source, for one platform.
type candidate struct {
	// refs are its names in the source: tags or whole names.
	refs []string
	// places are the entries of the source that list it; at least one.
	places []place
	// manifest is the digest of the manifest. It is empty if there is no manifest.
	manifest digest.Digest
	// platform is the platform that the source says. It is nil if only the config
	// says it.
	platform *ocispec.Platform
	// look reads the config.
	look func() (looked, error)
	// load reads and checks the manifest and config.
	load func() (*loaded, error)
}

// looked is what the config of a candidate says.
type looked struct {
	platform ocispec.Platform
	config   digest.Digest
}

// loaded is an image whose manifest and config were read and verified.
type loaded struct {
	Image
	manifest, config []byte
	// layer opens the blob of a layer by its index in Layers.
	layer func(i int) (io.ReadCloser, error)
	// notes are messages for the user about how the image was read.
	notes []string
}

// wanted says which image the caller wants. ref comes from the notation of the
// source. If both ref and choice are empty, the source must have only one
// image, possibly for several platforms.
type wanted struct {
	ref      string
	choice   choice
	platform wantedPlatform
}

// pick chooses one image.
func pick(all []candidate, want wanted) (candidate, *loaded, error) {
	if len(all) == 0 {
		return candidate{}, nil, fmt.Errorf("%w: the source holds none", ErrInvalid)
	}
	some, err := byRef(all, want)
	if err != nil {
		return candidate{}, nil, err
	}
	if some, err = byChoice(some, want.choice); err != nil {
		return candidate{}, nil, err
	}
	if len(some) == 1 && !want.platform.explicit {
		img, err := some[0].load()
		return some[0], img, err
	}
	return byPlatform(some, want.platform)
}

func byRef(all []candidate, want wanted) ([]candidate, error) {
	if want.ref != "" {
		some := filter(all, func(c candidate) bool { return c.called(want.ref) })
		if len(some) == 0 {
			return nil, fmt.Errorf("%w called %q; it holds %s", ErrNoMatch, want.ref, listImages(all))
		}
		return some, nil
	}
	for _, c := range all {
		if want.choice.text == "" && !slices.Equal(c.refs, all[0].refs) {
			return nil, several(all)
		}
	}
	return all, nil
}

func several(all []candidate) error {
	return fmt.Errorf("%w: the source holds several images: %s", ErrAmbiguous, listImages(all))
}

// called reports whether ref is one of the references of the candidate,
// literally or as a name.
func (c candidate) called(ref string) bool {
	name, err := ParseName(ref)
	return slices.ContainsFunc(c.refs, func(r string) bool {
		if r == ref {
			return true
		}
		other, err2 := ParseName(r)
		return err == nil && err2 == nil && other == name
	})
}

// byPlatform returns the best match. If several match equally well, it returns
// the first one if they are in one index, as the image-spec requires
// (image-index.md). If they are different images, it returns ErrAmbiguous.
func byPlatform(some []candidate, want wantedPlatform) (candidate, *loaded, error) {
	best, found := []candidate{}, make([]ocispec.Platform, 0, len(some))
	var other error
	for _, c := range some {
		if c.platform == nil {
			seen, err := c.look()
			if errors.Is(err, ErrArtifact) { // an artifact may be listed beside images
				other = err
				continue
			}
			if err != nil {
				return candidate{}, nil, err
			}
			c.platform = &seen.platform
		}
		found = append(found, *c.platform)
		switch {
		case !want.Match(*c.platform):
		case len(best) == 0 || want.Less(*c.platform, *best[0].platform):
			best = []candidate{c}
		case !want.Less(*best[0].platform, *c.platform):
			best = append(best, c)
		}
	}
	if len(found) == 0 {
		return candidate{}, nil, other
	}
	if len(best) == 0 {
		return candidate{}, nil, fmt.Errorf("%w for platform %s; it holds %s", ErrNoMatch, want.text, listPlatforms(found))
	}
	if slices.ContainsFunc(best[1:], best[0].apart) {
		return candidate{}, nil, several(best)
	}
	img, err := best[0].load()
	return best[0], img, err
}

// maxListed is the largest number of items in the list of an error message.
const maxListed = 20

func listPlatforms(ps []ocispec.Platform) string {
	var names []string
	for _, p := range ps {
		names = append(names, formatPlatform(&p))
	}
	return list(names)
}

func list(names []string) string {
	slices.Sort(names)
	return listInOrder(slices.Compact(names))
}

func listInOrder(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	if n := len(names) - maxListed; n > 0 {
		names = append(names[:maxListed:maxListed], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(names, ", ")
}
