package tar

import (
	"fmt"
	"path"
	"strings"
	"syscall"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

const (
	// maxName and maxTarget are NAME_MAX and PATH_MAX without the final NUL, in
	// bytes.
	maxName   = 255
	maxTarget = 4095
	// maxLinks is the largest number of symbolic links in the resolution of one
	// path.
	maxLinks = 255
	// followedSlack and followedEach limit the total bytes of the link targets that
	// the paths of a layer follow: followedSlack for the layer, plus followedEach
	// for each entry.
	followedSlack = 4 << 20
	followedEach  = 1 << 10
)

// cleanPath turns the name of an entry into the form of diff.Change.Path:
// relative to the root, without empty, "." and ".." components; "." is the
// root. An absolute name starts at the root. cleanPath returns an error for a
// name that leaves the root at any component, even if it comes back later. It
// also returns an error for a component of more than longest bytes that is not
// a marker.
func cleanPath(name string, maxDepth, longest int) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", invalid("name holds a NUL byte")
	}
	trimmed := strings.Trim(name, "/")
	tidy, depth, levels := true, 0, 0
	for rest, more := trimmed, true; more; {
		var c string
		c, rest, more = strings.Cut(rest, "/")
		switch c {
		case "", ".":
			tidy = false
			continue
		case "..":
			tidy = false
			if depth--; depth < 0 {
				return "", invalid("name leaves the root")
			}
			continue
		}
		depth++
		if levels = max(levels, depth); levels > maxDepth {
			return "", invalid("path is more than %d levels deep", maxDepth)
		}
		if len(c) > longest && !strings.HasPrefix(c, whiteout.Prefix) {
			return "", tooLong(c, longest)
		}
	}
	if tidy {
		return trimmed, nil
	}
	return path.Clean(strings.TrimLeft(name, "/")), nil
}

// tooLong returns the error for a name that exceeds the limit. If the kernel
// cannot hold the name, the layer is invalid. If only a lower limit is
// exceeded, the layer is valid.
func tooLong(name string, limit int) error {
	err := fmt.Errorf("a name of %d bytes is over the limit of %d: %w", len(name), limit, syscall.ENAMETOOLONG)
	if len(name) > maxName {
		return invalid("%w", err)
	}
	return fmt.Errorf("%w: %w", ErrLongName, err)
}

// samePath returns the length in bytes of the longest common path of two clean
// paths, in whole components: a directory above both, or one of the two.
func samePath(a, b string) int {
	n, end := 0, min(len(a), len(b))
	for block := 4 << 10; block > 0; block /= 16 {
		for n+block <= end && a[n:n+block] == b[n:n+block] {
			n += block
		}
	}
	ends := func(p string) bool { return n == len(p) || p[n] == '/' }
	if ends(a) && ends(b) {
		return n
	}
	return max(0, strings.LastIndexByte(a[:n], '/'))
}

// splitPath splits a clean path into its directory and its last component. The
// directory is "" for the root.
func splitPath(p string) (dir, base string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}

func joinPath(dir, base string) string {
	if dir == "" || dir == "." {
		return base
	}
	return dir + "/" + base
}
