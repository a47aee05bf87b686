package snapshotter

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Find returns the key of the active snapshot or view that mounts belong to.
// mounts are as Prepare, View and Mounts returned them, or in another form that
// names the same directories: with options in another order, or without
// overlayfs options that are not directories. Find never opens the directories
// that mounts names. When several views have the same mounts, Find returns one
// of them.
//
// The error matches errdefs.ErrNotFound for mounts of no snapshot in this
// store, and for mounts that show something in addition to a snapshot.
func (s *Snapshotter) Find(ctx context.Context, mounts []ctdmount.Mount) (string, error) {
	row, err := s.find(ctx, mounts, "")
	return row.Name, err
}

// FindTree returns the name of the snapshot whose tree mounts show. For an
// active snapshot that is the snapshot itself, for a view its parent. The name
// is empty when there are no mounts, and for a view without a parent. Errors
// are those of Find.
func (s *Snapshotter) FindTree(ctx context.Context, mounts []ctdmount.Mount) (string, error) {
	return s.findTree(ctx, mounts, "")
}

func (s *Snapshotter) findTree(ctx context.Context, mounts []ctdmount.Mount, prefix string) (string, error) {
	if len(mounts) == 0 {
		return "", nil
	}
	row, err := s.find(ctx, mounts, prefix)
	if err != nil || row.Kind == meta.View {
		return row.Parent, err
	}
	return row.Name, nil
}

// find is Find among the snapshots whose names begin with prefix.
func (s *Snapshotter) find(ctx context.Context, mounts []ctdmount.Mount, prefix string) (meta.Snapshot, error) {
	end, err := s.calls.begin()
	if err != nil {
		return meta.Snapshot{}, err
	}
	defer end()
	named := s.layersIn(mounts)
	candidates, err := s.candidates(named, prefix)
	if err != nil {
		return meta.Snapshot{}, err
	}
	want := placesOf(mounts)
	for _, row := range candidates {
		if err := ctx.Err(); err != nil {
			return meta.Snapshot{}, err
		}
		own, err := s.mounts(ctx, row, driver.MountOptions{})
		switch {
		case err != nil && (row.Kind == meta.View || !slices.Contains(s.names(want.upper), row.Layer)):
			s.log.DebugContext(ctx, "mounts of a snapshot cannot be compared", "key", row.Name, "error", err)
			continue
		case err != nil, placesOf(toContainerd(own)).equal(want), placesOf(engineMounts(toContainerd(own))).equal(want):
			// A detached layer cannot be mounted now. But no other snapshot has its upper
			// directory, so this is the snapshot.
			return row, nil
		}
	}
	return meta.Snapshot{}, fail(errdefs.ErrNotFound, "these mounts are of no snapshot here")
}

// candidates returns the active snapshots and views whose own layer is in
// named, followed by the views whose parent's layer is in named.
func (s *Snapshotter) candidates(named map[string]bool, prefix string) (own []meta.Snapshot, err error) {
	if len(named) == 0 {
		return nil, nil
	}
	var views []meta.Snapshot
	err = s.view(func(tx *meta.Tx) error {
		return tx.WalkSnapshotsFrom(prefix, func(row meta.Snapshot) error {
			switch {
			case row.State != meta.Ready || row.Kind == meta.Committed:
			case named[row.Layer]:
				own = append(own, row)
			case row.Kind == meta.View && row.Parent != "":
				parent, err := tx.Snapshot(row.Parent)
				if err != nil {
					return fmt.Errorf("parent of snapshot %q: %w", row.Name, err)
				}
				if named[parent.Layer] {
					views = append(views, row)
				}
			}
			return nil
		})
	})
	return append(own, views...), err
}

// layersIn returns the names in the paths of the mounts below the driver's
// directory. The IDs of the layers are among them.
func (s *Snapshotter) layersIn(mounts []ctdmount.Mount) map[string]bool {
	named := map[string]bool{}
	for _, m := range mounts {
		p := placesOf([]ctdmount.Mount{m})
		for _, path := range append(p.all(), m.Source) {
			for _, name := range s.names(path) {
				named[name] = true
			}
		}
	}
	return named
}

// names returns the components of a path below the driver's directory, and nil
// for any other path.
func (s *Snapshotter) names(path string) []string {
	rest, ok := strings.CutPrefix(path, filepath.Join(s.root, s.driver.Name())+"/")
	if !ok || filepath.Clean(path) != path {
		return nil
	}
	return strings.Split(rest, "/")
}

// places are the directories of mounts. Two mounts with the same places show
// the same tree.
type places struct {
	upper string
	// lower are the directories below upper, uppermost first.
	lower []string
	// others are the sources of bind mounts, and options that contain paths.
	others []string
}

func (p places) equal(q places) bool {
	return p.upper == q.upper && slices.Equal(p.lower, q.lower) && slices.Equal(p.others, q.others)
}

func (p places) all() []string {
	var all []string
	if p.upper != "" {
		all = append(all, p.upper)
	}
	all = append(all, p.lower...)
	for _, o := range p.others {
		all = append(all, strings.FieldsFunc(o, func(r rune) bool { return r == ':' || r == '=' })...)
	}
	return all
}

func placesOf(mounts []ctdmount.Mount) places {
	var p places
	for _, m := range mounts {
		if m.Type == "overlay" {
			p.overlay(m.Options)
			continue
		}
		if m.Type == "bind" && slices.Contains(m.Options, "remount") {
			continue // it does not name a directory
		}
		if m.Type == "bind" || m.Type == "" {
			p.others = append(p.others, filepath.Clean(m.Source))
			continue
		}
		for _, o := range m.Options {
			if strings.ContainsRune(o, '/') {
				p.others = append(p.others, o)
			}
		}
	}
	return p
}

func (p *places) overlay(options []string) {
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "upperdir":
			p.upper = filepath.Clean(unescape(value))
		case "lowerdir":
			p.lower = splitLower(value)
		case "lowerdir+":
			p.lower = append(p.lower, filepath.Clean(value))
		}
	}
}

// splitLower splits the directories of lowerdir=. A colon after a backslash is
// part of a directory.
func splitLower(value string) []string {
	var dirs []string
	add := func(dir string) {
		if dir != "" {
			dirs = append(dirs, filepath.Clean(unescape(dir)))
		}
	}
	start := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case ':':
			add(value[start:i])
			start = i + 1
		case '\\':
			i++
		}
	}
	add(value[start:])
	return dirs
}

// unescape removes the backslashes that overlayfs's parser needs.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
