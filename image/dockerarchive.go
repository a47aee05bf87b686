package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/tar"
)

// dockerManifestFile is the file that lists the images of a Docker archive.
const dockerManifestFile = "manifest.json"

// dockerEntry is one image in this file. See Moby's image/spec/spec.md.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerArchive reads the output of `docker save`. Such an archive has no
// manifests with digests, so a manifest is made. It is the same for the same
// content.
type dockerArchive struct {
	ctx context.Context //nolint:containedctx // lives for one import
	bag bag
}

func dockerCandidates(ctx context.Context, b bag) ([]candidate, error) {
	raw, err := readDocument(b, dockerManifestFile)
	if errors.Is(err, fs.ErrNotExist) && has(b, "repositories") {
		return nil, fmt.Errorf("%w: an archive of Docker before 1.10, without %s; load and save it with a newer one", ErrInvalid, dockerManifestFile)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no Docker archive: %s is missing", ErrInvalid, dockerManifestFile)
	}
	if err != nil {
		return nil, err
	}
	var entries []dockerEntry
	err = checkList(raw, maxCandidates, "images")
	if err == nil {
		err = parseJSON(raw, &entries)
	}
	if err == nil {
		err = checkEntries(entries)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dockerManifestFile, err)
	}
	return (&dockerArchive{ctx, b}).candidates(entries), nil
}

func checkEntries(entries []dockerEntry) error {
	for i, e := range entries {
		if len(e.Layers) > maxLayers || len(e.RepoTags) > maxNames {
			return fmt.Errorf("%w: image %d has more than %d layers or %d names", errBound, i+1, maxLayers, maxNames)
		}
		for _, text := range append(slices.Concat(e.Layers, e.RepoTags), e.Config) {
			if len(text) > maxText {
				return fmt.Errorf("%w: image %d has a name of %d bytes", errBound, i+1, len(text))
			}
		}
	}
	return nil
}

// candidates returns one candidate for each image. An image that is listed
// twice gives one candidate with all names.
func (d *dockerArchive) candidates(entries []dockerEntry) []candidate {
	var out []candidate
	known := map[string]int{}
	for _, e := range entries {
		key := strings.Join(append([]string{e.Config}, e.Layers...), "\x00")
		if i, ok := known[key]; ok {
			out[i].refs = append(out[i].refs, e.RepoTags...)
			continue
		}
		known[key] = len(out)
		id, _ := configID(e.Config)
		out = append(out, candidate{
			refs:   e.RepoTags,
			places: []place{{len(out) + 1, id}},
			look:   func() (looked, error) { return d.look(e) },
			load:   func() (*loaded, error) { return d.load(e) },
		})
	}
	return out
}

// blobDigest returns the digest in the name of a blob.
func blobDigest(name string) (digest.Digest, bool) {
	hex, ok := strings.CutPrefix(name, path.Join(ocispec.ImageBlobsDir, digest.SHA256.String())+"/")
	if !ok || !isHex64(hex) {
		return "", false
	}
	return digest.NewDigestFromEncoded(digest.SHA256, hex), true
}

// configID returns the digest in the name of a config: "HEX.json", or
// "blobs/sha256/HEX" in the newer format.
func configID(name string) (digest.Digest, bool) {
	hex := strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".json")
	if !isHex64(hex) {
		return "", false
	}
	return digest.NewDigestFromEncoded(digest.SHA256, hex), true
}

func (d *dockerArchive) look(e dockerEntry) (looked, error) {
	raw, config, err := d.readConfig(e)
	return looked{config.Platform, digest.FromBytes(raw)}, err
}

func (d *dockerArchive) readConfig(e dockerEntry) ([]byte, ocispec.Image, error) {
	raw, err := d.config(e.Config)
	if err != nil {
		return nil, ocispec.Image{}, fmt.Errorf("config %s: %w", e.Config, err)
	}
	config, err := parseConfig(raw)
	if err != nil {
		return nil, ocispec.Image{}, fmt.Errorf("config %s: %w", e.Config, err)
	}
	return raw, config, nil
}

func (d *dockerArchive) load(e dockerEntry) (*loaded, error) {
	rawConfig, config, err := d.readConfig(e)
	if err != nil {
		return nil, err
	}
	if len(config.RootFS.DiffIDs) != len(e.Layers) {
		return nil, fmt.Errorf("%w: %s has %d layers and the config %d diffIDs",
			ErrInvalid, dockerManifestFile, len(e.Layers), len(config.RootFS.DiffIDs))
	}
	layers := make([]ocispec.Descriptor, len(e.Layers))
	for i, name := range e.Layers {
		if layers[i], err = d.describe(name, config.RootFS.DiffIDs[i]); err != nil {
			return nil, fmt.Errorf("layer %d %s: %w", i+1, name, err)
		}
	}
	open := func(i int) (io.ReadCloser, error) {
		f, err := d.openLayer(e.Layers[i])
		return f, err
	}
	order, err := layerOrder(d.ctx, layers, config.RootFS.DiffIDs, open)
	if err != nil {
		return nil, err
	}
	if order != nil {
		layers, e.Layers = inOrder(layers, order), inOrder(e.Layers, order)
	}
	m := ocispec.Manifest{Config: describe(ocispec.MediaTypeImageConfig, rawConfig), Layers: layers}
	raw, target, err := newManifest(m.Config, m.Layers, nil)
	if err != nil {
		return nil, err
	}
	img, err := newImage(target, m, config)
	if err != nil {
		return nil, err
	}
	return &loaded{img, raw, rawConfig, open, nil}, nil
}

// config reads the config and compares it with the digest in its name.
func (d *dockerArchive) config(name string) ([]byte, error) {
	clean, ok := insideName(name)
	if !ok {
		return nil, fmt.Errorf("%w: the name leaves the archive", ErrInvalid)
	}
	raw, err := readDocument(d.bag, clean)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMissingBlob
	}
	if err != nil {
		return nil, err
	}
	got := digest.FromBytes(raw)
	if id, ok := configID(clean); ok && id != got {
		return nil, fmt.Errorf("%w: the content has the digest %s", ErrDigest, got)
	}
	return raw, nil
}

// describe finds the digest of a layer. For a plain tar it is the digest in the
// name, or else the diffID; it is verified when the layer is read. A compressed
// layer is read once more to compute it. Few tools write compressed layers into
// such archives.
func (d *dockerArchive) describe(name string, diffID digest.Digest) (ocispec.Descriptor, error) {
	f, err := d.openLayer(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer f.Close()
	desc := ocispec.Descriptor{MediaType: ociLayerType(f.packed), Digest: diffID, Size: f.size}
	if f.packed == tar.None && !f.unpacked {
		if id, ok := blobDigest(name); ok {
			desc.Digest = id
		}
		return desc, nil
	}
	hash := digest.SHA256.Digester()
	if desc.Size, err = copyContext(d.ctx, hash.Hash(), f); err != nil {
		return desc, err
	}
	desc.Digest = hash.Digest()
	return desc, nil
}

// savedLayer is a layer of a Docker archive, in the form that it has in an
// image.
type savedLayer struct {
	io.Reader
	io.Closer
	packed tar.Compression
	// unpacked: the layer is compressed in the archive in a way that a layer of an
	// image cannot be, so it is decompressed.
	unpacked bool
	// size is the size of the layer in bytes. It is not set if unpacked is true.
	size int64
}

func (d *dockerArchive) openLayer(name string) (*savedLayer, error) {
	f, size, err := d.open(name)
	if err != nil {
		return nil, err
	}
	packed, r, err := sniff(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if packed != tar.XZ && packed != tar.Bzip2 {
		return &savedLayer{r, f, packed, false, size}, nil
	}
	plain, _, err := tar.NewDecompressor(r)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &savedLayer{plain, closers{plain, f}, tar.None, true, 0}, nil
}

type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, x := range c {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

func (d *dockerArchive) open(name string) (io.ReadCloser, int64, error) {
	clean, ok := insideName(name)
	if !ok {
		return nil, 0, fmt.Errorf("%w: the name leaves the archive", ErrInvalid)
	}
	f, size, err := d.bag.open(clean)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: %s", ErrMissingBlob, name)
	}
	return f, size, err
}
