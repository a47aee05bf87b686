package image

import (
	stdtar "archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// write writes the archive. The files by which a reader recognizes the format
// come first, and then the blobs, sorted by digest. The archive has no data
// about this machine.
func (j *job) write(ctx context.Context, w io.Writer, ref string) (int64, error) {
	index, err := j.index(ref)
	if err != nil {
		return 0, err
	}
	count := &counter{w: w}
	a := &archive{ctx: ctx, tar: stdtar.NewWriter(count), dirs: map[string]bool{}}
	layout := []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)
	if err := a.file(ocispec.ImageLayoutFile, layout); err != nil {
		return 0, err
	}
	if err := a.file(ocispec.ImageIndexFile, index); err != nil {
		return 0, err
	}
	for _, e := range j.entries() {
		if err := j.writeEntry(ctx, a, e); err != nil {
			return 0, err
		}
	}
	return count.n, a.tar.Close()
}

// An entry is a blob of the archive: a manifest, a config, or the blob of a
// layer.
type entry struct {
	ocispec.Descriptor
	raw   []byte
	layer int
}

// entries returns the blobs, sorted by digest. A blob of several layers is in
// the result once.
func (j *job) entries() []entry {
	all := []entry{{j.target, j.rawManifest, -1}, {j.config, j.rawConfig, -1}}
	for i, p := range j.pieces {
		all = append(all, entry{p.Blob, nil, i})
	}
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.Digest, b.Digest) })
	return slices.CompactFunc(all, func(a, b entry) bool { return a.Digest == b.Digest })
}

func (j *job) writeEntry(ctx context.Context, a *archive, e entry) error {
	name := path.Join(ocispec.ImageBlobsDir, string(e.Digest.Algorithm()), e.Digest.Encoded())
	if e.raw != nil {
		return a.file(name, e.raw)
	}
	f, err := j.openBlob(ctx, e)
	if err != nil {
		return err
	}
	defer f.Close()
	v := newVerifier(ctx, f, e.Descriptor) // an export must not spread a blob that was damaged on disk
	v.advance = func(n int64) { j.opts.Progress.Advance(e.layer, n) }
	j.opts.Progress.Layer(e.layer, LayerStarted)
	if err := a.stream(name, v, e.Size); err != nil {
		if errors.Is(v.err, ErrDigest) && !j.s.snaps.ReadOnly() {
			err = errors.Join(err, j.s.DoubtBlob(e.Digest)) // so that an import checks more than the size of the blob
		}
		return err
	}
	for i, p := range j.pieces {
		if p.Blob.Digest == e.Digest {
			j.opts.Progress.Layer(i, LayerDone)
		}
	}
	return nil
}

// index makes the index.json with the image of the archive. skopeo and umoci
// look for the tag, and containerd looks for the whole name.
func (j *job) index(ref string) ([]byte, error) {
	d := ocispec.Descriptor{MediaType: j.target.MediaType, Digest: j.target.Digest, Size: j.target.Size}
	if j.platform.OS != "" && j.platform.Architecture != "" {
		d.Platform = &j.platform
	}
	if ref != "" {
		d.Annotations = map[string]string{
			ocispec.AnnotationRefName: tagOf(ref),
			annotationImageName:       fullName(ref),
		}
	}
	raw, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{d},
	})
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return raw, nil
}

// An archive is a tar whose headers differ only in name and size.
type archive struct {
	ctx  context.Context //nolint:containedctx // lives for one export
	tar  *stdtar.Writer
	dirs map[string]bool
}

func (a *archive) file(name string, raw []byte) error {
	return a.stream(name, bytes.NewReader(raw), int64(len(raw)))
}

func (a *archive) stream(name string, r io.Reader, size int64) error {
	if err := a.dir(path.Dir(name)); err != nil {
		return err
	}
	h := &stdtar.Header{Typeflag: stdtar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}
	if err := a.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := copyContext(a.ctx, a.tar, r)
	return err
}

// dir writes a directory and the directories above it, if they were not written
// before.
func (a *archive) dir(name string) error {
	if name == "." || a.dirs[name] {
		return nil
	}
	a.dirs[name] = true
	if err := a.dir(path.Dir(name)); err != nil {
		return err
	}
	h := &stdtar.Header{Typeflag: stdtar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}
	return a.tar.WriteHeader(h)
}
