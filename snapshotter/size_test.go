package snapshotter

import (
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

func sized(value string) snapshots.Opt {
	return snapshots.WithLabels(map[string]string{LabelSize: value})
}

// openQuota opens a store on a fake disk that can limit sizes.
func openQuota(t *testing.T) (*Snapshotter, *fakeDisk) {
	t.Helper()
	s, disk := openFake(t)
	disk.quota = true
	return s, disk
}

func onlyLayer(t *testing.T, disk *fakeDisk) *fakeLayer {
	t.Helper()
	require.Len(t, disk.layers, 1)
	for _, l := range disk.layers {
		return l
	}
	return nil
}

func TestTheSizeLabelReachesTheDriver(t *testing.T) {
	s, disk := openQuota(t)
	_, err := s.Prepare(t.Context(), "key", "", sized("536870912"))
	require.NoError(t, err)
	require.Equal(t, int64(512<<20), onlyLayer(t, disk).size)
	info, err := s.Stat(t.Context(), "key")
	require.NoError(t, err)
	limit, err := SizeLimit(info.Labels)
	require.NoError(t, err)
	require.Equal(t, int64(512<<20), limit)
}

func TestASnapshotWithoutTheLabelHasNoLimit(t *testing.T) {
	s, disk := openQuota(t)
	_, err := s.Prepare(t.Context(), "key", "", sized("")) // an empty label is no label
	require.NoError(t, err)
	require.Zero(t, onlyLayer(t, disk).size)
	limit, err := SizeLimit(nil)
	require.NoError(t, err)
	require.Zero(t, limit)
}

func TestWhatIsNoSizeIsAnInvalidArgument(t *testing.T) {
	s, disk := openQuota(t)
	for _, value := range []string{"0", "-1", "512M", "1e9", " 1", "0x10", "9223372036854775808", "1.5"} {
		_, err := s.Prepare(t.Context(), "key", "", sized(value))
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument, value)
	}
	require.Empty(t, disk.layers)
	requireSound(t, s)
}

func TestAViewHasNoSize(t *testing.T) {
	s, _ := openQuota(t)
	commit(t, s, "base", "", "base")
	_, err := s.View(t.Context(), "view", "base", sized("4096"))
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	requireSound(t, s)
}

func TestADriverWithoutQuotaRefusesASize(t *testing.T) {
	s, disk := openFake(t)
	_, err := s.Prepare(t.Context(), "key", "", sized("4096"))
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.ErrorIs(t, err, errdefs.ErrNotImplemented)
	require.Empty(t, disk.layers)
	requireSound(t, s)
}

func TestTheSizeOfASnapshotStaysAsItWasMade(t *testing.T) {
	s, _ := openQuota(t)
	_, err := s.Prepare(t.Context(), "key", "", sized("4096"))
	require.NoError(t, err)
	_, err = s.Prepare(t.Context(), "free", "")
	require.NoError(t, err)
	update := func(key string, labels map[string]string, paths ...string) (snapshots.Info, error) {
		return s.Update(t.Context(), snapshots.Info{Name: key, Labels: labels}, paths...)
	}
	for name, call := range map[string]func() (snapshots.Info, error){
		"another size": func() (snapshots.Info, error) { return update("key", map[string]string{LabelSize: "8192"}) },
		"removed": func() (snapshots.Info, error) {
			return update("key", map[string]string{"a": "1"}, "labels."+LabelSize)
		},
		"given later": func() (snapshots.Info, error) {
			return update("free", map[string]string{LabelSize: "4096"}, "labels."+LabelSize)
		},
	} {
		_, err := call()
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument, name)
	}
	info, err := update("key", map[string]string{"a": "1"}) // the size is not in the update
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "1", LabelSize: "4096"}, info.Labels)
	info, err = update("key", nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{LabelSize: "4096"}, info.Labels)
}

func TestACommitEndsTheLimit(t *testing.T) {
	s, _ := openQuota(t)
	_, err := s.Prepare(t.Context(), "key", "", sized("4096"))
	require.NoError(t, err)
	require.NoError(t, s.Commit(t.Context(), "done", "key", sized("4096")))
	info, err := s.Stat(t.Context(), "done")
	require.NoError(t, err)
	require.Empty(t, info.Labels)
}

func TestMakeWorksWhereNothingCanBeMountedWritable(t *testing.T) {
	s, disk := openFake(t)
	disk.noRW = true
	_, err := s.Prepare(t.Context(), "key", "")
	require.ErrorIs(t, err, driver.ErrUnsupported)
	requireSound(t, s)
	require.NoError(t, s.Create(t.Context(), "key", ""))
	require.ErrorIs(t, s.Create(t.Context(), "key", ""), errdefs.ErrAlreadyExists)
	require.ErrorIs(t, s.Create(t.Context(), "other", "nothing"), errdefs.ErrNotFound)
	require.NoError(t, s.Commit(t.Context(), "done", "key"))
	_, err = s.View(t.Context(), "view", "done")
	require.NoError(t, err)
	requireSound(t, s)
}
