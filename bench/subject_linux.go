package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/copytree"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/mount"
)

// Subjects returns the drivers of this module, overlay2 also with other mount
// options, the bare file system, and the old scheme of hard links.
func Subjects() []*Subject {
	var subjects []*Subject
	for _, b := range all.Backends() {
		subjects = append(subjects, ofDriver(b))
		if b.Name == "overlay2" {
			subjects = append(subjects, overlayVariants(b.Name)...)
		}
	}
	bare := &Subject{
		Name: "bare", About: "plain directories of the file system, copied by hand", Open: openBare,
		Bare: true, Copies: true, Reference: true,
	}
	return append(subjects, bare, hardlinks())
}

func ofDriver(b all.Backend) *Subject {
	return &Subject{
		Name: b.Name, About: "the driver " + b.Name, Copies: b.Name == "vfs",
		Open: func(ctx context.Context, dir string) (Store, error) {
			d, err := b.New(ctx, dir, driver.Options{})
			if err != nil {
				return nil, err
			}
			if !d.Properties().MountsWritable {
				err := fmt.Errorf("%w: %s has no writable mounts here", driver.ErrUnsupported, b.Name)
				return nil, errors.Join(err, d.Close())
			}
			return driverStore{d}, nil
		},
	}
}

// overlayVariants are overlay2 with options that change what a copy-up costs.
func overlayVariants(store string) []*Subject {
	vary := func(name, about string, volatile bool, options map[string]string) *Subject {
		return &Subject{
			Name: store + "+" + name, About: about, Store: store, Thorough: name != "metacopy",
			Vary: func(MountOptions) MountOptions { return MountOptions{Overlay: options, Volatile: volatile} },
		}
	}
	metacopy := map[string]string{"redirect_dir": "on", "metacopy": "on"}
	return []*Subject{
		vary("metacopy", "overlay with metacopy=on: a change of attributes copies no data", false, metacopy),
		vary("redirect_dir=off", "overlay with redirect_dir=off: directories of lower layers cannot be renamed", false, map[string]string{"redirect_dir": "off", "metacopy": "off"}),
		vary("volatile", "overlay that does not sync what it copies up", true, nil),
		vary("metacopy+volatile", "overlay with metacopy=on that does not sync", true, metacopy),
		vary("fsync=auto", "overlay with fsync=auto, which syncs data that is copied up", false, map[string]string{"fsync": "auto"}),
		vary("fsync=strict", "overlay with fsync=strict, which syncs attributes too", false, map[string]string{"fsync": "strict"}),
	}
}

// A driverStore is the store of a [driver.Driver].
type driverStore struct{ d driver.Driver }

func ids(names []string) []driver.ID {
	var all []driver.ID
	for _, n := range names {
		all = append(all, driver.ID(n))
	}
	return all
}

func (s driverStore) Create(ctx context.Context, name string, parents []string) error {
	return s.d.Create(ctx, driver.ID(name), ids(parents), driver.CreateOptions{})
}

func (s driverStore) Mount(ctx context.Context, name, target string, opts MountOptions) error {
	mounts, err := s.d.Mount(ctx, driver.ID(name), driver.MountOptions{Volatile: opts.Volatile})
	if err != nil {
		return err
	}
	for i, m := range mounts {
		if m.Overlay != nil && len(opts.Overlay) > 0 {
			mounts[i].Options = replaceOptions(m.Options, opts.Overlay)
		}
	}
	return mount.All(ctx, mounts, target)
}

// replaceOptions puts options into a list, in the place of those of the same
// name.
func replaceOptions(list []string, by map[string]string) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(o string) bool {
		name, _, _ := strings.Cut(o, "=")
		_, replaced := by[name]
		return replaced
	})
	for name, value := range by {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

func (s driverStore) Unmount(target string) error { return mount.Unmount(target) }

func (s driverStore) Apply(ctx context.Context, name string, layer io.Reader) error {
	_, err := s.d.ApplyDiff(ctx, driver.ID(name), layer, driver.ApplyOptions{Fresh: true})
	return err
}

func (s driverStore) Diff(ctx context.Context, name string, w io.Writer) error {
	_, err := driver.Diff(ctx, s.d, driver.ID(name), w, driver.DiffOptions{})
	return err
}

func (s driverStore) Seal(ctx context.Context, name string) error {
	return s.d.Seal(ctx, driver.ID(name))
}

func (s driverStore) Remove(ctx context.Context, name string) error {
	return s.d.Remove(ctx, driver.ID(name))
}

func (s driverStore) Usage(ctx context.Context, name string) (driver.Usage, error) {
	return s.d.Usage(ctx, driver.ID(name))
}

func (s driverStore) Cleanup(ctx context.Context) error { return s.d.Cleanup(ctx) }

func (s driverStore) Close() error { return s.d.Close() }

// A bareStore keeps each layer as a plain directory, a full copy of its parent.
// There is nothing to mount: a container is a directory.
type bareStore struct{ dir string }

func openBare(_ context.Context, dir string) (Store, error) { return bareStore{dir}, nil }

func (s bareStore) path(name string) string { return filepath.Join(s.dir, name) }

func (s bareStore) Create(ctx context.Context, name string, parents []string) (err error) {
	if err := os.Mkdir(s.path(name), 0o755); err != nil || len(parents) == 0 {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, disk.Remove(s.path(name)))
		}
	}()
	from, err := rootfd.Open(s.path(parents[0]), rootfd.Options{})
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := rootfd.Open(s.path(name), rootfd.Options{})
	if err != nil {
		return err
	}
	defer to.Close()
	return copytree.Copy(ctx, from, to, copytree.Options{})
}

// Mount makes target a link to the directory, which is as fast as the directory
// itself.
func (s bareStore) Mount(_ context.Context, name, target string, _ MountOptions) error {
	if err := os.Remove(target); err != nil {
		return err
	}
	return os.Symlink(s.path(name), target)
}

// Unmount makes target an empty directory again.
func (s bareStore) Unmount(target string) error {
	return errors.Join(os.Remove(target), os.Mkdir(target, 0o700))
}

func (s bareStore) Apply(ctx context.Context, name string, layer io.Reader) error {
	dir, err := os.Open(s.path(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return extract(ctx, dir, layer)
}

func (s bareStore) Diff(context.Context, string, io.Writer) error {
	return fmt.Errorf("%w: plain directories have no changes to write", driver.ErrUnsupported)
}

func (s bareStore) Seal(context.Context, string) error { return nil }

func (s bareStore) Remove(_ context.Context, name string) error { return disk.Remove(s.path(name)) }

func (s bareStore) Usage(ctx context.Context, name string) (driver.Usage, error) {
	return usageOf(ctx, s.path(name))
}

func (s bareStore) Cleanup(context.Context) error { return nil }
func (s bareStore) Close() error                  { return nil }
