package tar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"

	"github.com/layerkeep/layerkeep/diff"
)

// untouchedFile compares a file that must be as the layers below have it.
func (c *comparison) untouchedFile(d *pairDir, p, name string, want *expected, got *diff.Node) error {
	if want.stat.Nlink > 1 || got.Nlink > 1 {
		if seen := c.link(p, inodeOf(&want.stat), got, true); seen {
			return nil
		}
	}
	var err error
	if want.shown, err = d.below.LookupXattrs(name); err != nil {
		return c.findings.bear(p, true, err)
	}
	if want.stat.IsSymlink() {
		if want.target, err = d.below.Readlink(name); err != nil {
			return c.findings.bear(p, true, err)
		}
	}
	if err := c.fileAttributes(d, p, want, got); err != nil {
		return err
	}
	if !c.readData || !got.IsRegular() || got.Size == 0 || got.Size != want.stat.Size {
		return nil
	}
	if m, ok := d.merged.(diff.BodyMatcher); ok {
		if same, err := m.SameBody(name, d.below); err != nil || same {
			return c.findings.bear(p, false, err)
		}
	}
	return c.sameFiles(p, got, opener(d.merged, name), opener(d.below, name))
}

// file compares a file that the layer makes.
func (c *comparison) file(d *pairDir, p string, n *node) error {
	w := n.want
	if w == nil {
		return nil // a link to a file of the layers below that could not be read
	}
	want := &expected{stat: w.stat, target: n.target, kept: w.xattrs}
	got, err := c.lookup(d, p, want)
	if got == nil || err != nil {
		return err
	}
	if w.linked || got.Nlink > 1 {
		if seen := c.link(p, w, got, false); seen {
			return nil
		}
	}
	if err := c.fileAttributes(d, p, want, got); err != nil {
		return err
	}
	if w.body == nil || got.Size != w.stat.Size {
		return nil
	}
	_, name := splitPath(p)
	return c.content(d, p, name, got, w.body)
}

// fileAttributes compares everything of a file except its content and its other
// names.
func (c *comparison) fileAttributes(d *pairDir, p string, want *expected, got *diff.Node) error {
	_, name := splitPath(p)
	switch {
	case got.IsRegular() && got.Size != want.stat.Size:
		c.differs(p, FindingSize, want, bytesOf(want.stat.Size), bytesOf(got.Size))
	case got.IsDevice() && got.Rdev != want.stat.Rdev:
		c.differs(p, FindingDevice, want, deviceText(want.stat.Rdev), deviceText(got.Rdev))
	case got.IsSymlink():
		target, err := d.merged.Readlink(name)
		if err != nil {
			return c.findings.bear(p, false, err)
		}
		if target != want.target {
			c.differs(p, FindingTarget, want, strconv.Quote(want.target), strconv.Quote(target))
		}
	}
	return c.attributes(p, want, got, func() (map[string]string, error) { return d.merged.LookupXattrs(name) })
}

// content compares the content of a file with its body in the tar.
func (c *comparison) content(d *pairDir, p, name string, got *diff.Node, b *body) error {
	if b.parents != "" {
		return c.sameFiles(p, got, opener(d.merged, name), func() (io.ReadCloser, error) {
			f, _, err := c.below.open(b.parents)
			return f, err
		})
	}
	if b.compared == notCompared || b.with != inodeOf(got) {
		if err := c.compareSum(d, p, name, got, b); err != nil {
			return c.findings.bear(p, false, err)
		}
	}
	switch b.compared {
	case different:
		f := Finding{Path: p, Kind: FindingContent}
		if b.offset >= 0 {
			f.Got = fmt.Sprintf(", from byte %d on", b.offset)
		}
		c.findings.add(f)
	case unreadable:
		return c.findings.bear(p, false, b.err)
	}
	return nil
}

// compareSum compares a file with a body by digest.
func (c *comparison) compareSum(d *pairDir, p, name string, got *diff.Node, b *body) error {
	c.makeBuffers()
	if !b.hashed {
		// The body was equal to a file at another path, so the digest of that file is
		// its digest.
		if b.compared != equal {
			return fmt.Errorf("content cannot be compared, as /%s could not be read: %w", b.at.path(), syscall.EIO)
		}
		f, now, err := c.merged.open(b.at.path())
		if err != nil {
			return err
		}
		if b.sum, err = sumOf(c.ctx, f, c.buf); err != nil {
			return err
		}
		if inodeOf(&now) != b.with {
			return fmt.Errorf("%s was changed meanwhile", b.at.path())
		}
		b.hashed = true
	}
	f, err := d.merged.Open(name)
	if err != nil {
		return err
	}
	sum, err := sumOf(c.ctx, f, c.buf)
	if err != nil {
		return err
	}
	b.with, b.compared, b.offset = inodeOf(got), equal, -1
	if sum != b.sum {
		b.compared = different
	}
	return nil
}

func (c *comparison) makeBuffers() {
	if c.buf == nil {
		c.buf, c.other = blocks.get(), blocks.get()
	}
}

func (c *comparison) close() {
	c.below.close()
	blocks.put(c.buf)
	blocks.put(c.other)
}

// opener returns a function that opens a file.
func opener(in diff.Dir, name string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return in.Open(name) }
}

// sameFiles compares the content of a file with the content of a file of the
// layers below.
func (c *comparison) sameFiles(p string, got *diff.Node, merged, below func() (io.ReadCloser, error)) error {
	a, err := merged()
	if err != nil {
		return c.findings.bear(p, false, err)
	}
	defer a.Close()
	b, err := below()
	if err != nil {
		return c.findings.bear(p, true, err)
	}
	defer b.Close()
	c.makeBuffers()
	for at := int64(0); at < got.Size; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n := min(got.Size-at, blockSize)
		if err := readChunk(b, c.other[:n]); err != nil {
			return c.findings.bear(p, true, err)
		}
		err := readChunk(a, c.buf[:n])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return c.findings.bear(p, false, err)
		}
		if err != nil || !bytes.Equal(c.buf[:n], c.other[:n]) {
			c.findings.add(Finding{Path: p, Kind: FindingContent, Below: true})
			return nil
		}
		at += n
	}
	return nil
}

// readChunk fills the buffer. It returns io.ErrUnexpectedEOF if the file ends
// before.
func readChunk(r io.Reader, buf []byte) error {
	_, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
