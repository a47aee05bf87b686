package image

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// makeConfig takes the config of the base if the export has the same layers.
// Otherwise it continues that config, and leaves unknown fields as they are.
func (j *job) makeConfig() error {
	diffIDs := make([]digest.Digest, len(j.pieces))
	for i, p := range j.pieces {
		diffIDs[i] = p.DiffID
	}
	own := 0 // number of layers of the base
	if j.base != nil {
		own = len(j.base.Layers)
		j.platform = j.base.Platform
		if sameDiffIDs(j.base.Layers, diffIDs) {
			j.rawConfig = j.base.config
			j.config = j.base.Config
			j.config.MediaType = ocispec.MediaTypeImageConfig
			return nil
		}
	} else {
		host := platforms.DefaultSpec()
		j.platform = ocispec.Platform{OS: "linux", Architecture: host.Architecture, Variant: host.Variant}
	}
	var err error
	if j.rawConfig, err = j.continued(diffIDs, own, j.createdAt()); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	j.config = describe(ocispec.MediaTypeImageConfig, j.rawConfig)
	return nil
}

func sameDiffIDs(layers []Layer, diffIDs []digest.Digest) bool {
	if len(layers) != len(diffIDs) {
		return false
	}
	for i, l := range layers {
		if l.DiffID != diffIDs[i] {
			return false
		}
	}
	return true
}

// createdAt returns the creation time for the config. It must be the same for
// two exports of the same snapshot.
func (j *job) createdAt() time.Time {
	if !j.opts.Created.IsZero() {
		return j.opts.Created.UTC()
	}
	if !j.opts.SourceDateEpoch.IsZero() {
		return j.opts.SourceDateEpoch.UTC()
	}
	return j.created.UTC()
}

// continued returns the config of the base, or a new config, with other layers.
// It uses a map, which keeps unknown fields and is written in the order of its
// keys.
func (j *job) continued(diffIDs []digest.Digest, own int, created time.Time) ([]byte, error) {
	fields := map[string]json.RawMessage{}
	var history []json.RawMessage
	if j.base != nil {
		if err := json.Unmarshal(j.base.config, &fields); err != nil {
			return nil, err
		}
		if raw := fields["history"]; raw != nil {
			if err := json.Unmarshal(raw, &history); err != nil {
				return nil, err
			}
		}
	}
	set := func(key string, v any) (err error) {
		fields[key], err = json.Marshal(v)
		return err
	}
	if j.base == nil {
		if err := set("architecture", j.platform.Architecture); err != nil {
			return nil, err
		}
		if err := set("os", j.platform.OS); err != nil {
			return nil, err
		}
		if j.platform.Variant != "" {
			if err := set("variant", j.platform.Variant); err != nil {
				return nil, err
			}
		}
		fields["config"] = json.RawMessage("{}")
	}
	history, err := j.history(history, own, created)
	if err != nil {
		return nil, err
	}
	for key, v := range map[string]any{
		"created": created,
		"rootfs":  ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
		"history": history,
	} {
		if err := set(key, v); err != nil {
			return nil, err
		}
	}
	return json.Marshal(fields)
}

// history appends an entry for each layer that is not in the base. Readers
// match entries with layers, so it adds entries that the base lacks.
func (j *job) history(old []json.RawMessage, own int, created time.Time) ([]json.RawMessage, error) {
	layers := 0
	for _, raw := range old {
		var h ocispec.History
		if err := json.Unmarshal(raw, &h); err != nil {
			return nil, err
		}
		if !h.EmptyLayer {
			layers++
		}
	}
	for ; layers < min(own, len(j.pieces)); layers++ {
		// umoci 0.4 panics on an entry without a time.
		raw, err := json.Marshal(ocispec.History{Created: &created, Comment: "no history"})
		if err != nil {
			return nil, err
		}
		old = append(old, raw)
	}
	for _, p := range j.pieces[min(own, len(j.pieces)):] {
		at := p.created.UTC()
		if at.After(created) || !j.opts.Created.IsZero() {
			at = created // never later than the image
		}
		raw, err := json.Marshal(ocispec.History{Created: &at, CreatedBy: "layerkeep snapshot " + p.key})
		if err != nil {
			return nil, err
		}
		old = append(old, raw)
	}
	return old, nil
}
