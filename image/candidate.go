package image

import (
	"fmt"
	"io"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A candidate is one image that a source holds.
type candidate struct {
	// refs are what the source calls it: tags, or whole names.
	refs []string
	// id tells candidates apart: a digest or a place in the source.
	id string
	// platform is what the source says; nil when only the config does.
	platform *ocispec.Platform
	// load reads and checks the manifest and config.
	load func() (*loaded, error)
}

// loaded is an image whose manifest and config were read and verified.
type loaded struct {
	Image
	manifest, config []byte
	// layer opens the blob of a layer by its place in Layers.
	layer func(i int) (io.ReadCloser, error)
}

// pick chooses one image. ref comes from the source's notation; empty means
// that there has to be one image, for perhaps several platforms.
func pick(all []candidate, ref string, want wanted) (candidate, *loaded, error) {
	some, err := byRef(all, ref)
	if err != nil {
		return candidate{}, nil, err
	}
	if len(some) == 0 {
		return candidate{}, nil, fmt.Errorf("%w: the source holds none", ErrInvalid)
	}
	if len(some) == 1 && !want.explicit {
		img, err := some[0].load()
		return some[0], img, err
	}
	return byPlatform(some, want)
}

func byRef(all []candidate, ref string) ([]candidate, error) {
	if ref != "" {
		some := slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return !c.called(ref) })
		if len(some) == 0 {
			return nil, fmt.Errorf("%w called %q; it holds %s", ErrNoMatch, ref, listRefs(all))
		}
		return some, nil
	}
	for _, c := range all {
		if !slices.Equal(c.refs, all[0].refs) {
			return nil, fmt.Errorf("%w: it holds several images, name one: %s", ErrAmbiguous, listRefs(all))
		}
	}
	return all, nil
}

// called reports whether ref is one of the candidate's references, literally or
// as a name.
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

// byPlatform takes the best match, the first of equals.
func byPlatform(some []candidate, want wanted) (candidate, *loaded, error) {
	best, found := -1, make([]ocispec.Platform, len(some))
	for i, c := range some {
		if c.platform == nil {
			img, err := c.load()
			if err != nil {
				return candidate{}, nil, err
			}
			c.platform = &img.Platform
		}
		found[i] = *c.platform
		if want.Match(found[i]) && (best < 0 || want.Less(found[i], found[best])) {
			best = i
		}
	}
	if best < 0 {
		return candidate{}, nil, fmt.Errorf("%w for platform %s; it holds %s", ErrNoMatch, want.text, listPlatforms(found))
	}
	img, err := some[best].load()
	return some[best], img, err
}

// maxListed bounds what an error message lists.
const maxListed = 20

func listRefs(all []candidate) string {
	var refs []string
	for _, c := range all {
		if len(c.refs) == 0 {
			refs = append(refs, "(unnamed)")
		}
		refs = append(refs, c.refs...)
	}
	return list(refs)
}

func listPlatforms(ps []ocispec.Platform) string {
	var names []string
	for _, p := range ps {
		names = append(names, formatPlatform(&p))
	}
	return list(names)
}

func list(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return "nothing"
	}
	if n := len(names) - maxListed; n > 0 {
		names = append(names[:maxListed:maxListed], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(names, ", ")
}
