package check

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// maxFindings is the largest number of differences of one layer that are
// reported one by one.
const maxFindings = 100

// layer checks one layer: its record, and its files.
func (c *checker) layer(l snapshotter.Layer) error {
	base := Finding{Part: Snapshot, Name: l.Name, Layer: l.ID, Images: c.users[l.Name]}
	if l.Name == "" {
		base.Part = Layer
	} else {
		c.sum.Snapshots++
	}
	if l.Name != "" && c.damaged[l.Parent] {
		c.damaged[l.Name] = true
	}
	for _, fault := range l.Faults {
		f := base
		f.What = fault.Error()
		if errors.Is(fault, snapshotter.ErrOlder) { // the layer may be sound
			c.report(f)
			continue
		}
		if errors.Is(fault, snapshotter.ErrHints) { // the layers above it are not damaged
			f.Broken = true
			c.report(f)
			continue
		}
		c.hurt(l, f)
	}
	if l.Missing || l.Name == "" || l.Kind == meta.View {
		return nil
	}
	var err error
	switch {
	case l.Store != "": // only a check of that store can compare its content
		if visit := c.readFile; c.opts.ReadData {
			c.sum.Unread++
			err = c.walk(l, visit)
		} else {
			err = c.walk(l, func(diff.Change) error { return nil })
		}
	case !c.opts.ReadData:
		err = c.walk(l, func(diff.Change) error { return nil })
	case l.Labels[image.LabelLayer] != "" && l.Labels[image.LabelBlob] != "":
		err = c.againstBlob(l, base)
	case l.Digest != "" && !c.damaged[l.Parent]:
		err = c.againstDigest(l, base)
	default:
		c.sum.Unread++
		err = c.walk(l, c.readFile)
	}
	if fatal := c.fatal(err); fatal != nil {
		return fatal
	}
	switch {
	case l.Kind == meta.Committed:
	case isChange(err):
		c.sum.Changed++
		return nil
	case errors.Is(err, driver.ErrUnsupported): // it was unpacked without its parents
		c.sum.Unread++
		return nil
	}
	if err != nil {
		base.What = "it cannot be read: " + err.Error()
		c.hurt(l, base)
	}
	return nil
}

// isChange reports whether an error can come from a program that writes to a
// mounted snapshot while it is read: a name that was just listed is gone, or is
// now another type of file.
func isChange(err error) bool {
	if err == nil || errors.Is(err, snapshotter.ErrLayerDamaged) {
		return false
	}
	for _, change := range []error{fs.ErrNotExist, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ESTALE, io.ErrUnexpectedEOF} {
		if errors.Is(err, change) {
			return true
		}
	}
	return false
}

// walk calls visit for each change of the layer.
func (c *checker) walk(l snapshotter.Layer, visit func(diff.Change) error) error {
	for change, err := range c.snaps.Changes(c.ctx, l.Name) {
		if err != nil {
			return err
		}
		if err := visit(change); err != nil {
			return fmt.Errorf("%s: %w", change.Path, err)
		}
	}
	return nil
}

// readFile reads a file for which there is nothing to compare with. It finds
// files that cannot be read.
func (c *checker) readFile(change diff.Change) error {
	if change.Kind == diff.Delete || !change.Node.IsRegular() || change.Hardlink != "" {
		return nil
	}
	body, err := change.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, counted{body, c})
	return errors.Join(err, body.Close())
}

// againstDigest compares the layer with the digest that its commit recorded.
// The digest is that of the differences from the layers below, so it has a
// meaning only if those are sound.
func (c *checker) againstDigest(l snapshotter.Layer, base Finding) error {
	sum, err := c.snaps.ContentDigest(c.ctx, l.Name, func(n int) error {
		if err := c.read(n); err != nil {
			return stopped{err}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case sum != l.Digest:
		if inherited, err := c.parentDamaged(l); err != nil || inherited {
			c.sum.Unread++
			return err
		}
		base.What = fmt.Sprintf("it is not what was committed: its changes have the digest %s, and had %s", sum, l.Digest)
		c.hurt(l, base)
	}
	return nil
}

// againstBlob compares the layer with the blob that it was unpacked from, and
// the blob with its digest. It reads each of them once.
func (c *checker) againstBlob(l snapshotter.Layer, base Finding) error {
	d := digest.Digest(l.Labels[image.LabelBlob])
	size, ok, err := c.images.BlobSize(d)
	if err != nil || !ok {
		base.What = fmt.Sprintf("it cannot be compared with its blob, %s, which is missing", d)
		if err != nil {
			base.What = fmt.Sprintf("it cannot be compared with its blob: %v", err)
		}
		base.Blob = d
		c.report(base)
		c.sum.Unread++
		return c.walk(l, c.readFile)
	}
	r, err := c.openBlob(ocispec.Descriptor{Digest: d, Size: size})
	if err != nil {
		return err
	}
	defer r.Close()
	parent, merged, err := c.snaps.Views(c.ctx, l.Name)
	if err != nil {
		return err
	}
	view := merged
	if !c.snaps.Driver().Properties().NativeDiff {
		// The hints of this driver come from the times of files, and damage by the disk
		// does not change the times.
		view = diff.Unhinted(merged)
	}
	verified, err := tar.Verify(c.ctx, r, parent, view, tar.VerifyOptions{
		ReadData: true, DiffID: digest.Digest(l.Labels[image.LabelDiffID]),
		UserNS: userns.RunningInUserNS(), MaxFindings: maxFindings,
	})
	if parent != nil {
		err = errors.Join(err, parent.Close())
	}
	err = errors.Join(err, merged.Close())
	if errors.Is(err, diff.ErrInvalidLayer) || errors.Is(err, tar.ErrDigest) || errors.Is(err, image.ErrDigest) {
		return c.unreadBlob(d, l, err)
	}
	if err != nil {
		return err
	}
	c.sawBlob(d)
	for _, f := range verified.Findings {
		if f.Below {
			if inherited, err := c.parentDamaged(l); err != nil {
				return err
			} else if inherited {
				continue // it was already reported
			}
		}
		found := base
		found.Path, found.What = f.Path, f.String()
		c.hurt(l, found)
	}
	if more := verified.Total - int64(len(verified.Findings)); more > 0 {
		base.What = fmt.Sprintf("%d more differences", more)
		c.report(base)
	}
	return nil
}

// unreadBlob reports a blob that does not have its digest. The layer cannot be
// compared with it, so unreadBlob only reads the files of the layer.
func (c *checker) unreadBlob(d digest.Digest, l snapshotter.Layer, err error) error {
	if fatal := c.fatal(err); fatal != nil {
		return fatal
	}
	c.sawBlob(d)
	c.report(Finding{Part: Blob, Name: d.String(), What: err.Error(), Images: c.users[l.Name], Blob: d})
	c.sum.Unread++
	return c.walk(l, c.readFile)
}
