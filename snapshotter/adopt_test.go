package snapshotter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// oldDisk is a fakeDisk on which another engine has left layers.
type oldDisk struct {
	*fakeDisk
	foreign map[driver.ID]bool
	broken  map[driver.ID]bool // incomplete layers, which the driver does not list
}

func newOldDisk() *oldDisk {
	return &oldDisk{fakeDisk: newFakeDisk(), foreign: map[driver.ID]bool{}, broken: map[driver.ID]bool{}}
}

// leave makes a layer as the other engine would.
func (d *oldDisk) leave(id driver.ID, parents ...driver.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.foreign[id] = true
	d.layers[id] = &fakeLayer{parents: parents, sealed: true, content: []byte("of " + id)}
}

func (d *oldDisk) open(_ context.Context, root, name string, _ driver.Options) (driver.Driver, error) {
	if name != "" && name != "fake" {
		return nil, fmt.Errorf("no driver %q: %w", name, driver.ErrUnsupported)
	}
	return &oldDriver{fakeDriver{root: root, disk: d.fakeDisk, notes: map[driver.ID]json.RawMessage{}}, d}, nil
}

// oldDriver is a driver.Adopter.
type oldDriver struct {
	fakeDriver
	old *oldDisk
}

func (d *oldDriver) Layers(ctx context.Context) ([]driver.ID, error) {
	ids, err := d.fakeDriver.Layers(ctx)
	return slices.DeleteFunc(ids, func(id driver.ID) bool { return d.old.foreign[id] }), err
}

func (d *oldDriver) Foreign(context.Context) ([]driver.Foreign, error) {
	d.old.mu.Lock()
	defer d.old.mu.Unlock()
	var list []driver.Foreign
	for id := range d.old.foreign {
		if l := d.old.layers[id]; l != nil && !d.old.broken[id] {
			list = append(list, driver.Foreign{ID: id, Parents: l.parents})
		}
	}
	slices.SortFunc(list, func(a, b driver.Foreign) int { return len(a.Parents) - len(b.Parents) })
	return list, nil
}

func (d *oldDisk) ids() []driver.ID { return slices.Sorted(maps.Keys(d.layers)) }

func openOld(t *testing.T, root string, disk *oldDisk) *Snapshotter {
	t.Helper()
	return openAt(t, root, Options{open: disk.open})
}

func TestLayersOfAnotherEngineAreCommittedSnapshots(t *testing.T) {
	root, disk := memDir(t), newOldDisk()
	disk.leave("zz-base")
	disk.leave("top", "zz-base")
	s := openOld(t, root, disk)

	info, err := s.Stat(t.Context(), "top")
	require.NoError(t, err)
	require.Equal(t, "zz-base", info.Parent)
	require.Equal(t, map[string]string{LabelForeign: "fake"}, info.Labels)
	base, err := s.Stat(t.Context(), "zz-base")
	require.NoError(t, err)
	require.Empty(t, base.Parent)
	require.True(t, base.Created.Before(info.Created), "listed by age, parents come first")
	require.Equal(t, "of top", diffOf(t, s, "top"))
	_, err = s.Prepare(t.Context(), "key", "top")
	require.NoError(t, err)
	require.NoError(t, s.Commit(t.Context(), "done", "key"))
	require.NoError(t, s.Cleanup(t.Context()))
	rows := rowsOf(t, s)
	require.NoError(t, s.Close())

	// Opening again changes nothing, except that it adopts layers that are new.
	s = openOld(t, root, disk)
	require.Equal(t, rows, rowsOf(t, s))
	require.NoError(t, s.Close())
	disk.leave("later", "top", "zz-base")
	s = openOld(t, root, disk)
	info, err = s.Stat(t.Context(), "later")
	require.NoError(t, err)
	require.Equal(t, "top", info.Parent)
	delete(rows, "later")
	require.Subset(t, rowsOf(t, s), rows)
}

func TestAnAdoptedSnapshotIsRemovedLikeAnyOther(t *testing.T) {
	root, disk := memDir(t), newOldDisk()
	disk.leave("base")
	disk.leave("top", "base")
	s := openOld(t, root, disk)
	require.ErrorIs(t, s.Remove(t.Context(), "base"), errdefs.ErrFailedPrecondition)
	require.NoError(t, s.Remove(t.Context(), "top"))
	require.NoError(t, s.Close())
	s = openOld(t, root, disk)
	require.Equal(t, []string{"base"}, namesOf(t, s))
	require.Equal(t, []driver.ID{"base"}, disk.ids())
}

func TestTheUsageOfAnAdoptedSnapshotIsCountedOnce(t *testing.T) {
	root, disk := memDir(t), newOldDisk()
	disk.leave("base")
	s := openOld(t, root, disk)
	require.Zero(t, rowsOf(t, s)["base"].Usage, "opening counts nothing")
	usage, err := s.Usage(t.Context(), "base")
	require.NoError(t, err)
	require.Equal(t, int64(len("of base")), usage.Size)
	disk.layers["base"].content = nil
	again, err := s.Usage(t.Context(), "base")
	require.NoError(t, err)
	require.Equal(t, usage, again)
}

func TestTheLayersOfTheStoreNeverMeetTheOtherEngines(t *testing.T) {
	root, disk := memDir(t), newOldDisk()
	disk.leave("1")
	disk.leave("3", "1")
	disk.leave("99999999999999999999", "1")
	s := openOld(t, root, disk)
	for _, key := range []string{"a", "b", "c", "d"} {
		commit(t, s, key, "", "mine")
	}
	require.Equal(t, "of 1", diffOf(t, s, "1"))
	require.Equal(t, "of 3", diffOf(t, s, "3"))
}

func TestALayerThatIsNoneOfOursIsNotRemovedWithAnUnfinishedSnapshot(t *testing.T) {
	root, disk := memDir(t), newOldDisk()
	s := openOld(t, root, disk)
	// The layer has the ID that the next layer gets, and cannot be adopted.
	disk.broken["1"] = true
	disk.leave("1")
	_, err := s.Prepare(t.Context(), "key", "")
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	require.NotErrorIs(t, err, errdefs.ErrAlreadyExists, "the key is free")
	require.Contains(t, disk.ids(), driver.ID("1"))
	_, err = s.Prepare(t.Context(), "key", "")
	require.NoError(t, err, "another layer has another name")
	require.NoError(t, s.Remove(t.Context(), "key"))

	// The process died after the row and before the layer.
	require.NoError(t, s.db.Update(func(tx *meta.Tx) error {
		_, err := tx.CreateSnapshot(meta.Snapshot{Name: "pending", Layer: "1", Kind: meta.Active, State: meta.Pending})
		return err
	}))
	require.NoError(t, s.Close())
	s = openOld(t, root, disk)
	require.Empty(t, namesOf(t, s))
	require.Contains(t, disk.ids(), driver.ID("1"))
}

func TestALayerWhoseNameIsTakenStaysUnadopted(t *testing.T) {
	root, disk := memDir(t), newOldDisk()
	s := openOld(t, root, disk)
	commit(t, s, "taken", "", "mine")
	require.NoError(t, s.Close())
	disk.leave("taken")
	disk.leave("child", "taken")
	disk.leave("other")
	s = openOld(t, root, disk)
	require.Equal(t, []string{"other", "taken"}, namesOf(t, s))
	require.Equal(t, "mine", diffOf(t, s, "taken"))
	require.NoError(t, s.Close())
	require.Contains(t, disk.ids(), driver.ID("child"))
}

func TestAnInterruptedAdoptionOrRemovalIsMadeGoodByTheNextOpen(t *testing.T) {
	injected := errors.New("injected")
	for _, at := range []string{"adopt before", "adopt after"} {
		t.Run(at, func(t *testing.T) {
			root, disk := memDir(t), newOldDisk()
			disk.leave("base")
			disk.leave("top", "base")
			_, err := Open(t.Context(), root, Options{open: disk.open, hook: func(point string) error {
				if point == at {
					return injected
				}
				return nil
			}})
			require.ErrorIs(t, err, injected)
			require.Equal(t, []string{"base", "top"}, namesOf(t, openOld(t, root, disk)))
			require.Len(t, disk.ids(), 2)
		})
	}
	for _, at := range []string{"condemn before", "condemn after", "remove before", "remove after"} {
		t.Run(at, func(t *testing.T) {
			root, disk := memDir(t), newOldDisk()
			disk.leave("base")
			disk.leave("top", "base")
			s := openOld(t, root, disk)
			s.hook = func(point string) error {
				if point == at {
					return injected
				}
				return nil
			}
			err := s.Remove(t.Context(), "top")
			s.hook = nil
			require.NoError(t, s.Close())
			s = openOld(t, root, disk)
			if at == "condemn before" {
				require.ErrorIs(t, err, injected)
				require.Equal(t, []string{"base", "top"}, namesOf(t, s))
				return
			}
			require.Equal(t, []string{"base"}, namesOf(t, s), "its removal is finished, and it is not adopted again")
			require.Equal(t, []driver.ID{"base"}, disk.ids())
		})
	}
}
