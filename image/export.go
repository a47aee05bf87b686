package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Export writes an image, or a committed snapshot with everything below it, to
// w as an OCI archive: a tar of an OCI layout. The same content gives the same
// bytes. [Store.Resolve] says what name may be.
//
// An OCI image is written with the manifest, config and blobs that it was
// imported with. The manifest of a Docker image, and a manifest with
// non-distributable layers, is rewritten as an OCI manifest with the same
// config and blobs. For a snapshot Export extends the config of the image below
// it.
//
// Export makes a blob for a layer that has none, or whose blob is lost (see
// Exported.Replaced). It keeps the blob, so that the next export has the same.
// In a store that is read-only it cannot keep the blob. It then makes each of
// them twice, because size and digest come before the blob in the archive.
//
// Export returns ErrBlobDamaged when a blob of the image does not have its
// digest. The next import of the image replaces it.
func (s *Store) Export(ctx context.Context, name string, w io.Writer, opts ExportOptions) (Exported, error) {
	if opts.Progress == nil {
		opts.Progress = NoProgress{}
	}
	out, err := s.export(ctx, name, w, opts)
	if errors.Is(err, ErrDigest) { // the error is about a blob in the store
		err = fmt.Errorf("%w: %w", ErrBlobDamaged, err)
	}
	if err != nil {
		return Exported{}, fmt.Errorf("export %s: %w", name, err)
	}
	return out, nil
}

func (s *Store) export(ctx context.Context, name string, w io.Writer, opts ExportOptions) (_ Exported, err error) {
	ref := ""
	if opts.Name != "" {
		if ref, err = ParseName(opts.Name); err != nil {
			return Exported{}, err
		}
	}
	what, err := s.Resolve(ctx, name)
	if err != nil {
		return Exported{}, err
	}
	if what.Image != nil && ref == "" {
		ref = what.Image.Name
	}
	h := &hold{drop: map[string]func(context.Context) error{}}
	defer func() { err = errors.Join(err, s.release(context.WithoutCancel(ctx), h)) }()
	j := &job{s: s, hold: h, opts: opts}
	if err := j.plan(ctx, what); err != nil {
		return Exported{}, err
	}
	if err := j.makeLayers(ctx); err != nil {
		return Exported{}, err
	}
	if err := j.documents(); err != nil {
		return Exported{}, err
	}
	n, err := j.write(ctx, w, ref)
	if err != nil {
		return Exported{}, err
	}
	out := Exported{Name: ref, Target: j.target, Config: j.config, Made: j.made, Bytes: n, Layers: []Layer{}, Replaced: []digest.Digest{}}
	for _, p := range j.pieces {
		out.Layers = append(out.Layers, p.Layer)
		if p.missing != "" && p.missing != p.Blob.Digest {
			out.Replaced = append(out.Replaced, p.missing)
		}
	}
	return out, nil
}

// A job is one export.
type job struct {
	s    *Store
	hold *hold
	opts ExportOptions

	// base is the image whose config is continued. It may be the exported image
	// itself. It is nil if there is none.
	base *base
	// pieces are the layers, base first.
	pieces []piece
	// created is the time at which the uppermost snapshot was committed.
	created time.Time
	made    int

	rawManifest, rawConfig []byte
	target, config         ocispec.Descriptor
	platform               ocispec.Platform
}

// A piece is a layer of the export.
type piece struct {
	Layer
	// key is the snapshot from which the layer can be made.
	key string
	// known: Layer is complete, and its blob exists or can be made again.
	known bool
	// repack: the blob is not stored, and is made again for the archive.
	repack bool
	// missing is the original blob of the layer, if the store no longer has it, or
	// "".
	missing digest.Digest
	created time.Time
}

// A base is an image with its documents.
type base struct {
	Image
	manifest            ocispec.Manifest
	rawManifest, config []byte
}

// loadBase reads the manifest and config of an image in the store.
func (s *Store) loadBase(target ocispec.Descriptor) (*base, error) {
	raw, err := s.readAny(target.Digest)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if target.MediaType == "" { // only its digest is known
		var doc document
		if err := json.Unmarshal(raw, &doc); err != nil {
			return nil, fmt.Errorf("%w: manifest %s: %w", ErrInvalid, target.Digest, err)
		}
		target = describe(ocispec.MediaTypeImageManifest, raw)
		if doc.MediaType != "" {
			target.MediaType = doc.MediaType
		}
	}
	m, err := parseManifest(raw, target.MediaType)
	if err != nil {
		return nil, err
	}
	rawConfig, err := s.readAny(m.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	config, err := parseConfig(rawConfig)
	if err != nil {
		return nil, err
	}
	img, err := newImage(target, m, config)
	if err != nil {
		return nil, err
	}
	return &base{img, m, raw, rawConfig}, nil
}

// makeLayers makes the layers that have no blob.
func (j *job) makeLayers(ctx context.Context) error {
	list := make([]ProgressLayer, len(j.pieces))
	for i, p := range j.pieces {
		list[i] = ProgressLayer{p.Blob.Digest, p.Blob.Size}
	}
	j.opts.Progress.Begin(list)
	for i := range j.pieces {
		p := &j.pieces[i]
		if p.known {
			continue
		}
		j.opts.Progress.Layer(i, LayerStarted)
		if err := j.makeLayer(ctx, p); err != nil {
			return fmt.Errorf("layer %d of %d, snapshot %q: %w", i+1, len(j.pieces), p.key, err)
		}
		j.made++
	}
	return nil
}

// documents makes the config and manifest, or takes those of the image if they
// still fit.
func (j *job) documents() error {
	if err := j.makeConfig(); err != nil {
		return err
	}
	layers := make([]ocispec.Descriptor, len(j.pieces))
	for i, p := range j.pieces {
		layers[i] = p.Blob
	}
	if b := j.base; b != nil && b.Target.MediaType == ocispec.MediaTypeImageManifest &&
		b.Config.Digest == j.config.Digest && slices.EqualFunc(layers, b.manifest.Layers, sameDescriptor) {
		j.rawManifest, j.target = b.rawManifest, b.Target
		j.config = b.Config
		return nil
	}
	var annotations map[string]string
	if j.base != nil && j.base.Config.Digest == j.config.Digest {
		annotations = j.base.manifest.Annotations
	}
	var err error
	j.rawManifest, j.target, err = newManifest(j.config, layers, annotations)
	return err
}

// sameDescriptor compares the fields that an export writes. Because an export
// writes OCI media types, a descriptor with one of Docker's types differs.
func sameDescriptor(a, b ocispec.Descriptor) bool {
	return a.MediaType == b.MediaType && a.Digest == b.Digest && a.Size == b.Size
}
