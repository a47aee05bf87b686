package image

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A place is where a source lists an image: an entry of its index.json or
// manifest.json. The entry may be an index, with the image for several
// platforms.
type place struct {
	// number is the position among the places of a source that have images, counted
	// from 1.
	number int
	// digest is the digest of the manifest or index of the entry. For an image in a
	// Docker archive it is the digest of the config, which Docker calls the image
	// ID. It is empty if the source does not have it.
	digest digest.Digest
}

// maxPlaceDigits is the largest length of a number. A longer text is the start
// of a digest.
const maxPlaceDigits = 5

// A choice says which image of a source the caller wants. The zero value
// chooses nothing.
type choice struct {
	text   string
	number int
}

// CheckChoice returns an error that matches [ErrInvalid] for a text that is not
// valid in ImportOptions.Image.
func CheckChoice(s string) error {
	_, err := parseChoice(s)
	return err
}

func parseChoice(s string) (choice, error) {
	c := choice{text: s}
	if s == "" {
		return c, nil
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil && len(s) <= maxPlaceDigits {
		if n == 0 {
			return c, fmt.Errorf("%w: image %q: the images of a source are counted from 1", ErrInvalid, s)
		}
		c.number = int(n)
		return c, nil
	}
	if _, ok := digits(s); !ok && digest.Digest(s).Validate() != nil {
		return c, fmt.Errorf("%w: image %q is neither a digest nor a number", ErrInvalid, s)
	}
	return c, nil
}

// means reports whether the choice is the digest d or starts it.
func (c choice) means(d digest.Digest) bool {
	if d.String() == c.text {
		return true
	}
	hex, ok := digits(c.text)
	return ok && strings.HasPrefix(d.String(), digest.SHA256.String()+":"+hex)
}

// byChoice returns the candidates that the choice selects: by number, or else
// by the digest of the place or manifest, or else by the digest of the config.
func byChoice(all []candidate, c choice) ([]candidate, error) {
	if c.text == "" {
		return all, nil
	}
	if c.number > 0 {
		some := filter(all, func(x candidate) bool {
			return slices.ContainsFunc(x.places, func(p place) bool { return p.number == c.number })
		})
		if len(some) == 0 {
			return nil, fmt.Errorf("%w with the number %d; it holds %s", ErrNoMatch, c.number, listImages(all))
		}
		return some, nil
	}
	for _, digests := range []func(candidate) ([]digest.Digest, error){candidate.ownDigests, candidate.configDigest} {
		some, err := byDigests(all, c, digests)
		if len(some) > 0 || err != nil {
			return some, err
		}
	}
	return nil, fmt.Errorf("%w with the digest %s; it holds %s", ErrNoMatch, c.text, listImages(all))
}

// byDigests returns the candidates for which the choice selects one of the
// digests.
func byDigests(all []candidate, c choice, of func(candidate) ([]digest.Digest, error)) ([]candidate, error) {
	var some []candidate
	var meant []digest.Digest
	for _, x := range all {
		digests, err := of(x)
		if err != nil {
			return nil, err
		}
		matching := filter(digests, c.means)
		if len(matching) > 0 {
			some = append(some, x)
			meant = append(meant, matching...)
		}
	}
	slices.Sort(meant)
	if meant = slices.Compact(meant); len(meant) > 1 {
		var names []string
		for _, d := range meant {
			names = append(names, d.String())
		}
		return nil, fmt.Errorf("%w: %q is the beginning of several digests: %s", ErrAmbiguous, c.text, list(names))
	}
	return some, nil
}

func filter[T any](all []T, keep func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(all), func(x T) bool { return !keep(x) })
}

// ownDigests returns the digests of a candidate that are known without reading
// it.
func (c candidate) ownDigests() ([]digest.Digest, error) {
	out := []digest.Digest{c.manifest}
	for _, p := range c.places {
		out = append(out, p.digest)
	}
	return out, nil
}

func (c candidate) configDigest() ([]digest.Digest, error) {
	seen, err := c.look()
	return []digest.Digest{seen.config}, err
}

// apart reports whether two candidates are different images. The same image for
// two platforms is not different.
func (c candidate) apart(other candidate) bool {
	return !slices.ContainsFunc(c.places, func(p place) bool { return slices.Contains(other.places, p) })
}

// listImages lists the images of a source for an error: number, digest, names,
// and the platform if the source says it.
func listImages(all []candidate) string {
	var lines []string
	listed := map[int]bool{}
	for _, c := range all {
		for _, p := range c.places {
			if listed[p.number] {
				continue
			}
			listed[p.number] = true
			lines = append(lines, fmt.Sprintf("%d: %s", p.number, c.describe(p)))
		}
	}
	return listInOrder(lines)
}

func (c candidate) describe(p place) string {
	var parts []string
	if p.digest != "" {
		parts = append(parts, p.digest.String())
	}
	if len(c.refs) == 0 {
		parts = append(parts, "(unnamed)")
	}
	parts = append(parts, c.refs...)
	if c.platform != nil && p.digest == c.manifest {
		parts = append(parts, formatPlatform(c.platform))
	}
	return strings.Join(parts, " ")
}
