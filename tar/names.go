package tar

import (
	"fmt"
	"path"
	"strings"
	"syscall"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

const (
	// maxName and maxTarget are NAME_MAX and PATH_MAX less the final NUL.
	maxName   = 255
	maxTarget = 4095
	// maxLinks is how many symbolic links one path may go through.
	maxLinks = 255
	// followedSlack and followedEach bound the bytes of link targets that the
	// paths of a layer go through: so many, and so many more for each entry.
	followedSlack = 4 << 20
	followedEach  = 1 << 10
)

// cleanPath brings the name of an entry into the form of diff.Change.Path:
// relative to the root, without empty, "." and ".." components; "." is the
// root. An absolute name is taken from the root. A name that leaves the root on
// its way is refused, even if it came back, and so is one with a component of
// more than longest bytes that is no marker.
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

// tooLong is the error for a name over the limit. One that the kernel cannot
// hold is a fault of the layer, one over a lower limit is not.
func tooLong(name string, limit int) error {
	err := fmt.Errorf("a name of %d bytes is over the limit of %d: %w", len(name), limit, syscall.ENAMETOOLONG)
	if len(name) > maxName {
		return invalid("%w", err)
	}
	return fmt.Errorf("%w: %w", ErrLongName, err)
}

// samePath is how many bytes of the first of two clean paths are a path that
// the other begins with as well: a directory above both, or one of them.
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

// splitPath splits a clean path into its directory, "" for the root, and the
// last component.
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
