package image

import (
	"fmt"
	"io"
	"strings"
)

// A Kind is a format of images.
type Kind string

// The formats.
const (
	// Detect finds the format by the content. A directory is an OCI layout or
	// one of skopeo's. A tar with an "oci-layout" entry is an OCI archive, a
	// tar with "manifest.json" a Docker archive.
	Detect Kind = ""
	// OCILayout is a directory as in image-layout.md of the OCI image
	// specification.
	OCILayout Kind = "oci"
	// SkopeoDir is a directory as skopeo writes it for "dir:".
	SkopeoDir Kind = "dir"
	// OCIArchive is a tar of an OCI layout, compressed or not.
	OCIArchive Kind = "oci-archive"
	// DockerArchive is the output of `docker save`, compressed or not.
	DockerArchive Kind = "docker-archive"
)

// A Source says where an image is read from; see [ParseSource].
type Source struct {
	// Kind is the format.
	Kind Kind
	// Path is a directory or file, with an optional ":REF" unless Kind is
	// [Detect]. "-" means Reader.
	Path string
	// Reader is read once to its end when Path is "-". It is always an archive.
	Reader io.Reader
	// Packed, when not nil, describes the source behind Reader, which another
	// process has opened; see [Source.Pack].
	Packed *Packed
}

// Packed describes the original source of a stream that [Source.Pack] made.
type Packed struct {
	// Label is the source as the user wrote it.
	Label string
	// Ref chooses one of several images; empty: the user gave none.
	Ref string
	// Base is the name of an image whose own names are only tags; empty: none.
	Base string
}

// ParseSource reads the notation of the command line: a plain path, "-" for
// stdin, or a path with a format in front. A reference behind the path chooses
// one of several images:
//
//	oci:DIR[:REF]
//	dir:DIR
//	oci-archive:FILE[:REF]
//	docker-archive:FILE[:REF]
//
// FILE may be "-". Write "./oci:dir" for a plain path that begins with the name
// of a format. ParseSource does not look at the disk: opening the source
// decides whether a colon belongs to the path or begins a reference.
//
// stdin becomes the Reader of a source that needs one.
func ParseSource(s string, stdin io.Reader) (Source, error) {
	src := Source{Path: s}
	for _, k := range []Kind{OCILayout, SkopeoDir, OCIArchive, DockerArchive} {
		if rest, ok := strings.CutPrefix(s, string(k)+":"); ok {
			src = Source{Kind: k, Path: rest}
		}
	}
	if src.Path == "" {
		return Source{}, fmt.Errorf("%w: source %q names no path", ErrInvalid, s)
	}
	if src.stdin() {
		if src.Kind == OCILayout || src.Kind == SkopeoDir {
			return Source{}, fmt.Errorf("%w: %q is a directory and cannot be read from stdin", ErrInvalid, src.Kind)
		}
		src.Reader = stdin
	}
	return src, nil
}

// stdin reports whether the source is a stream.
func (s Source) stdin() bool {
	return s.Path == "-" || s.Kind != Detect && strings.HasPrefix(s.Path, "-:")
}

// String returns the source in the notation of [ParseSource].
func (s Source) String() string {
	if s.Packed != nil {
		return s.Packed.Label
	}
	if s.Kind == Detect {
		return s.Path
	}
	return string(s.Kind) + ":" + s.Path
}
