package image

import (
	"fmt"
	"io"
	"strings"
)

// A Kind is a format that images are read from.
type Kind string

// The formats.
const (
	// Detect looks at the content: a directory is an OCI layout, or one of skopeo's,
	// a tar with an "oci-layout" entry an OCI archive, one with "manifest.json" a
	// Docker archive.
	Detect Kind = ""
	// OCILayout is a directory as in the OCI image-spec, image-layout.md.
	OCILayout Kind = "oci"
	// SkopeoDir is a directory as skopeo writes it for "dir:".
	SkopeoDir Kind = "dir"
	// OCIArchive is a tar of such a directory, compressed or not.
	OCIArchive Kind = "oci-archive"
	// DockerArchive is what `docker save` writes, compressed or not.
	DockerArchive Kind = "docker-archive"
)

// A Source says where an image is read from; see [ParseSource].
type Source struct {
	// Kind is the format.
	Kind Kind
	// Path is a directory or file, for all but [Detect] with an optional
	// ":REF" behind it; "-" means Reader.
	Path string
	// Reader is read when Path is "-": always an archive, read once to its end.
	Reader io.Reader
	// Packed, when not nil, tells of the source that Reader brings, which another
	// process has opened; see [Source.Pack].
	Packed *Packed
}

// Packed is what a stream does not say of the source that it was.
type Packed struct {
	// Label is the source as its user has written it.
	Label string
	// Ref chooses one of several images; empty: none was asked for.
	Ref string
	// Base names an image whose own names are only tags; empty: it has none.
	Base string
}

// ParseSource reads the notation of the command line: a plain path, "-" for
// stdin, or a path with the format in front and, where the source holds several
// images, a reference behind: "oci:DIR[:REF]", "dir:DIR", "oci-archive:FILE[:REF]",
// "docker-archive:FILE[:REF]". FILE may be "-". It does not look at the disk: a
// path with colons is told from a reference when the source is opened. A plain
// path that begins with a format's name is written "./oci:dir".
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

// String returns the source in the notation that [ParseSource] reads.
func (s Source) String() string {
	if s.Packed != nil {
		return s.Packed.Label
	}
	if s.Kind == Detect {
		return s.Path
	}
	return string(s.Kind) + ":" + s.Path
}
