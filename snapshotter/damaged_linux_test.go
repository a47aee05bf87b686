package snapshotter

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// requireDamage requires that an error names the snapshot whose layer is
// damaged, and says what to do.
func requireDamage(t *testing.T, err error, key, what string) {
	t.Helper()
	require.ErrorIs(t, err, ErrLayerDamaged, what)
	require.True(t, errdefs.IsDataLoss(err), what)
	require.False(t, errdefs.IsNotFound(err), "%s: an engine would take the snapshot for missing", what)
	require.ErrorContains(t, err, `"`+key+`"`, what)
	require.ErrorContains(t, err, "snapctl repair", what)
}

// callsOn returns the calls that need the layer of "box", or the layers below
// it.
func callsOn(s *Snapshotter) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"prepare": func(ctx context.Context) error { _, err := s.Prepare(ctx, "another box", "top"); return err },
		"mounts of a view": func(ctx context.Context) error {
			_, err := s.View(ctx, "a view", "top")
			if err == nil {
				err = s.Remove(ctx, "a view")
			}
			return err
		},
		"diff": func(ctx context.Context) error {
			_, err := s.Diff(ctx, "top", io.Discard, driver.DiffOptions{})
			return err
		},
		"changes": func(ctx context.Context) error {
			for _, err := range s.Changes(ctx, "top") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"open": func(ctx context.Context) error {
			v, err := s.OpenView(ctx, "top")
			if err == nil {
				err = v.Close()
			}
			return err
		},
	}
}

func TestDamageOfOneLayerIsDataLossForItsSnapshotsAlone(t *testing.T) {
	eachDriver(t, func(t *testing.T, dir string, newDriver func() openDriver) {
		for what, harm := range map[string]func(layer string) error{
			"a missing directory": fstest.RemoveAll,
			"a missing record":    func(layer string) error { return os.Remove(filepath.Join(layer, "layer.json")) },
			"a damaged record": func(layer string) error {
				return os.WriteFile(filepath.Join(layer, "layer.json"), []byte("{"), 0o600)
			},
		} {
			t.Run(what, func(t *testing.T) {
				root := freshDir(t, dir)
				s := openAt(t, root, Options{open: newDriver()})
				name := s.Driver().Name()
				if name == "fake" || name == "aufs" {
					t.Skip("its layers are no directories that could be damaged")
				}
				commit(t, s, "base", "", layerTar("base"))
				commit(t, s, "top", "base", layerTar("top"))
				commit(t, s, "other", "", layerTar("other"))
				active(t, s, "other box", "other", layerTar("x"))
				require.NoError(t, harm(filepath.Join(root, name, rowsOf(t, s)["top"].Layer)))
				for call, fn := range callsOn(s) {
					requireDamage(t, fn(t.Context()), "top", call)
				}
				_, err := s.Stat(t.Context(), "another box")
				require.ErrorIs(t, err, errdefs.ErrNotFound, "nothing is left of what failed")
				if s.Driver().Properties().MountsWritable {
					_, err = s.Prepare(t.Context(), "one more box", "other")
					require.NoError(t, err)
				}
				require.NoError(t, s.Commit(t.Context(), "fine", "other box"))
				_, err = s.Prepare(t.Context(), "nothing", "nowhere")
				require.ErrorIs(t, err, errdefs.ErrNotFound, "what never was is no damage")
				require.NoError(t, renewFrom(t.Context(), s, "top", layerTar("top")))
				for call, fn := range callsOn(s) {
					if call != "prepare" || s.Driver().Properties().MountsWritable {
						require.NoError(t, fn(t.Context()), call)
					}
				}
			})
		}
	})
}

// brokenDisk is a driver whose trees cannot be read.
type brokenDisk struct {
	*fakeDriver
	err error
}

func (d *brokenDisk) View(context.Context, driver.ID) (diff.View, error) {
	return nil, &os.PathError{Op: "open", Path: "/x", Err: d.err}
}

func (d *brokenDisk) Mount(ctx context.Context, id driver.ID, opts driver.MountOptions) ([]mount.Mount, error) {
	if opts.ReadOnly {
		return nil, &os.PathError{Op: "open", Path: "/x", Err: d.err}
	}
	return d.fakeDriver.Mount(ctx, id, opts)
}

// openBroken opens a store on a disk that fails with err.
func openBroken(t *testing.T, err error) *Snapshotter {
	t.Helper()
	disk := newFakeDisk()
	return openAt(t, memDir(t), Options{open: func(ctx context.Context, root, name string, opts driver.Options) (driver.Driver, error) {
		d, openErr := disk.open(ctx, root, name, opts)
		if openErr != nil {
			return nil, openErr
		}
		return &brokenDisk{d.(*fakeDriver), err}, nil
	}})
}

func TestADiskThatCannotReadALayerIsDataLoss(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.EUCLEAN} {
		s := openBroken(t, errno)
		commit(t, s, "base", "", "base")
		_, err := s.OpenView(t.Context(), "base")
		requireDamage(t, err, "base", "open")
		_, err = s.MountValues(t.Context(), "base", driver.MountOptions{})
		requireDamage(t, err, "base", "mount")
		require.NoError(t, s.Remove(t.Context(), "base"))
	}
}

func TestAnEngineDoesNotSeeAnImageWhoseLayersAreDamaged(t *testing.T) {
	s, disk := openFake(t)
	sc, err := s.Scope("eng")
	require.NoError(t, err)
	commit(t, s, sc.Full("base"), "", "base")
	commit(t, s, sc.Full("mid"), sc.Full("base"), "mid")
	commit(t, s, sc.Full("top"), sc.Full("mid"), "top")
	require.NoError(t, s.Create(t.Context(), sc.Full("box"), sc.Full("top")))
	delete(disk.layers, layerOf(rowsOf(t, s)[sc.Full("mid")]))
	for name, there := range map[string]bool{"base": true, "mid": false, "top": false, "box": true} {
		_, err := sc.StatWhole(t.Context(), name)
		if there {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, errdefs.ErrNotFound, "%s: the engine unpacks it again", name)
		require.ErrorContains(t, err, "damaged")
		_, err = sc.Stat(t.Context(), name)
		require.NoError(t, err, "the snapshot itself is there")
	}
	seen := 0
	require.NoError(t, sc.Walk(t.Context(), func(context.Context, snapshots.Info) error { seen++; return nil }))
	require.Equal(t, 4, seen, "a garbage collection sees all")
}

func TestWantOfDescriptorsIsNoDamage(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EACCES, syscall.ENOSPC} {
		s := openBroken(t, errno)
		commit(t, s, "base", "", "base")
		_, err := s.OpenView(t.Context(), "base")
		require.ErrorIs(t, err, errno)
		require.NotErrorIs(t, err, ErrLayerDamaged)
		require.False(t, IsDamage(s.Usable(t.Context(), "base")))
	}
}
