package image

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// The grammar of references, from distribution-spec, "Pulling manifests", and
// of the domain that may come first in Docker's references.
var (
	domainRE = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?$`)
	})
	pathRE = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	})
	tagRE = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	})
)

const (
	hubDomain  = "docker.io"
	hubLibrary = "library"
	defaultTag = "latest"
	maxNameLen = 255
)

// ParseName returns the form in which the store records a name. A name without
// a tag gets the tag "latest". "docker.io/" and "library/" are left out, as
// Docker does it: "debian" and "docker.io/library/debian:latest" are both
// "debian:latest".
//
// ParseName returns an error that matches [ErrInvalid] for a malformed name,
// and for a name with a digest: the store finds images by digest without such
// names.
func ParseName(s string) (string, error) {
	rest, tag := s, defaultTag
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') {
		rest, tag = s[:i], s[i+1:]
	}
	if !tagRE().MatchString(tag) || len(rest) > maxNameLen {
		return "", badName(s)
	}
	domain, path := splitDomain(rest)
	if !pathRE().MatchString(path) || domain != "" && !domainRE().MatchString(domain) {
		return "", badName(s)
	}
	domain, path = shorten(domain, path)
	if isHex64(path) && domain == "" {
		return "", badName(s) // it would look like a digest
	}
	if domain != "" {
		path = domain + "/" + path
	}
	return path + ":" + tag, nil
}

// shorten removes what [fullName] adds. It keeps a part if the rest would have
// another meaning without it.
func shorten(domain, path string) (string, string) {
	if domain == "index.docker.io" {
		domain = hubDomain
	}
	if domain != "" && domain != hubDomain {
		return domain, path
	}
	if short := strings.TrimPrefix(path, hubLibrary+"/"); !strings.Contains(short, "/") {
		return "", short
	}
	if inner, _ := splitDomain(path); inner != "" {
		return domain, path
	}
	return "", path
}

func badName(s string) error {
	return fmt.Errorf("%w: %q is not an image name; an image name is [domain/]path[:tag] in lower case", ErrInvalid, s)
}

// splitDomain treats the first component as a domain in the same cases as
// Docker: if it has a dot or a colon, or is "localhost".
func splitDomain(s string) (domain, path string) {
	first, rest, ok := strings.Cut(s, "/")
	if !ok || !strings.ContainsAny(first, ".:") && first != "localhost" && strings.ToLower(first) == first {
		return "", s
	}
	return first, rest
}

// fullName inverts the shortening in [ParseName]. It returns the form under
// which containerd stores images.
func fullName(name string) string {
	domain, path := splitDomain(name)
	if domain != "" {
		return name
	}
	if !strings.Contains(path, "/") {
		path = hubLibrary + "/" + path
	}
	return hubDomain + "/" + path
}

// tagOf returns the tag of a recorded name.
func tagOf(name string) string { return name[strings.LastIndexByte(name, ':')+1:] }

// isHex64 reports whether s can be the hex part of a SHA-256 digest.
func isHex64(s string) bool {
	return digest.NewDigestFromEncoded(digest.SHA256, s).Validate() == nil
}
