package fstest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
)

// A Node is one path of a [Tree].
type Node struct {
	// Mode is st_mode: type and permission bits.
	Mode     uint32
	UID, GID uint32
	Mtime    time.Time
	// Size is in bytes, of regular files only.
	Size int64
	// Body is the content of a regular file, or a digest of a long one.
	Body string
	// Target is the target of a symbolic link.
	Target string
	Rdev   uint64
	Xattrs map[string]string
	// Link is the first name of the same inode when it has several names in
	// the tree, else empty.
	Link string
}

// Type returns the file type bits.
func (n Node) Type() uint32 { return n.Mode & diff.TypeMask }

// Perm returns the permission bits.
func (n Node) Perm() uint32 { return n.Mode & diff.PermMask }

// A Tree maps the paths of a tree, "." for the root, to what is there.
type Tree map[string]Node

// Paths returns the paths in the order of a walk, the root first.
func (t Tree) Paths() []string {
	paths := make([]string, 0, len(t))
	for p := range t {
		if p != "." {
			paths = append(paths, p)
		}
	}
	SortPaths(paths)
	if _, ok := t["."]; ok {
		paths = slices.Insert(paths, 0, ".")
	}
	return paths
}

// longBody is the length from which a body is kept as a digest.
const longBody = 4096

// Body returns content as a Node keeps it.
func Body(content string) string {
	if len(content) < longBody {
		return content
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
}

type inodeKey struct{ dev, ino uint64 }

// builder gathers a tree and the names of each inode.
type builder struct {
	tree  Tree
	names map[inodeKey][]string
}

func newBuilder() *builder {
	return &builder{tree: Tree{}, names: map[inodeKey][]string{}}
}

func (b *builder) add(p string, n Node, dev, ino uint64) {
	b.tree[p] = n
	if n.Type() != diff.TypeDir {
		b.names[inodeKey{dev, ino}] = append(b.names[inodeKey{dev, ino}], p)
	}
}

func (b *builder) finish() Tree {
	for _, names := range b.names {
		if len(names) < 2 {
			continue
		}
		SortPaths(names)
		for _, p := range names {
			n := b.tree[p]
			n.Link = names[0]
			b.tree[p] = n
		}
	}
	return b.tree
}

// FromView reads a whole view. The view is not closed.
func FromView(tb testing.TB, v diff.View) Tree {
	tb.Helper()
	t, err := ReadView(v)
	require.NoError(tb, err, "read view")
	return t
}

// ReadView is [FromView] for those who want the error.
func ReadView(v diff.View) (Tree, error) {
	root, err := v.Root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	b := newBuilder()
	n, err := root.Stat()
	if err != nil {
		return nil, err
	}
	xattrs, err := root.Xattrs()
	if err != nil {
		return nil, err
	}
	b.add(".", viewNode(n, xattrs), n.Dev, n.Ino)
	if err := b.readDir(root, ""); err != nil {
		return nil, err
	}
	return b.finish(), nil
}

func viewNode(n diff.Node, xattrs map[string]string) Node {
	node := Node{Mode: n.Mode, UID: n.UID, GID: n.GID, Mtime: n.Mtime, Xattrs: xattrs}
	if n.IsDevice() {
		node.Rdev = n.Rdev
	}
	if n.IsRegular() {
		node.Size = n.Size
	}
	return node
}

func (b *builder) readDir(d diff.Dir, prefix string) error {
	names, err := d.Names()
	if err != nil {
		return fmt.Errorf("list /%s: %w", prefix, err)
	}
	if !sort.StringsAreSorted(names) {
		return fmt.Errorf("names of /%s are not sorted: %q", prefix, names)
	}
	for _, name := range names {
		if err := b.readName(d, prefix, name); err != nil {
			return fmt.Errorf("/%s: %w", path.Join(prefix, name), err)
		}
	}
	return nil
}

func (b *builder) readName(d diff.Dir, prefix, name string) error {
	n, err := d.Lookup(name)
	if err != nil {
		return err
	}
	xattrs, err := d.LookupXattrs(name)
	if err != nil {
		return err
	}
	node := viewNode(n, xattrs)
	switch n.Type() {
	case diff.TypeSymlink:
		if node.Target, err = d.Readlink(name); err != nil {
			return err
		}
	case diff.TypeRegular:
		if node.Body, err = readBody(d, name); err != nil {
			return err
		}
	}
	p := path.Join(prefix, name)
	b.add(p, node, n.Dev, n.Ino)
	if !n.IsDir() {
		return nil
	}
	sub, err := d.OpenDir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	own, err := sub.Stat()
	if err != nil {
		return err
	}
	if own.Mode != n.Mode || own.UID != n.UID || own.GID != n.GID || !own.Mtime.Equal(n.Mtime) {
		return fmt.Errorf("names differ: as a child %+v, opened %+v", n, own)
	}
	return b.readDir(sub, p)
}

func readBody(d diff.Dir, name string) (string, error) {
	r, err := d.Open(name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	return Body(string(content)), nil
}

// String lists the tree, one path a line, for messages.
func (t Tree) String() string {
	var s strings.Builder
	for _, p := range t.Paths() {
		fmt.Fprintf(&s, "%s %s\n", p, t[p])
	}
	return s.String()
}
