package snapshotter

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// mapping gives a snapshot the labels of an ID map.
func mapping(uids, gids string) snapshots.Opt {
	return snapshots.WithLabels(map[string]string{
		snapshots.LabelSnapshotUIDMapping: uids, snapshots.LabelSnapshotGIDMapping: gids,
	})
}

var twoRanges = mapping("0:1000:1,1:100001:65535", "0:100000:65536")

func TestLabelsThatAreNoMapsOfIDsAreAnInvalidArgument(t *testing.T) {
	s, disk := openFake(t)
	for _, opt := range []snapshots.Opt{
		mapping("0:1:1", ""), mapping("", "0:1:1"), mapping("0:1", "0:1:1"), mapping("0:1:1", "1:1:1"), mapping("0:1:0", "0:1:1"),
	} {
		_, err := s.Prepare(t.Context(), "key", "", opt)
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	}
	_, err := s.Prepare(t.Context(), "key", "", twoRanges)
	require.ErrorIs(t, err, errdefs.ErrNotImplemented, "of a driver without Properties.Idmap")
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.Empty(t, disk.layers)
	requireSound(t, s)
}

// openMapped opens a store with the committed snapshot "base". It skips the
// test when the snapshots of this backend cannot have ID maps.
func openMapped(t *testing.T, name string) *Snapshotter {
	t.Helper()
	requireMount(t)
	s := openAt(t, freshDir(t, alltest.Place(t, t.TempDir(), name)), Options{Driver: name})
	if !s.Driver().Properties().Idmap {
		_, err := s.Prepare(t.Context(), "probe", "", twoRanges)
		require.ErrorIs(t, err, errdefs.ErrNotImplemented)
		t.Skipf("mounts with mapped IDs: %v", err)
	}
	layer := fstest.Layer(t, fstest.File("root", "r"), fstest.File("user", "u").WithOwner(1000, 1000), fstest.File("gone", "g"))
	commit(t, s, "base", "", string(layer))
	return s
}

// eachMapped runs a test with every backend.
func eachMapped(t *testing.T, fn func(t *testing.T, s *Snapshotter)) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			fn(t, openMapped(t, name))
		})
	}
}

// mountAsEngine mounts as containerd does. The mount ends with the test, or
// when done is called.
func mountAsEngine(t *testing.T, mounts []ctdmount.Mount) (root string, done func()) {
	t.Helper()
	root = t.TempDir()
	require.NoError(t, os.Chmod(root, 0o755))
	require.NoError(t, ctdmount.All(mounts, root))
	mounted := true
	done = func() {
		if mounted {
			require.NoError(t, ctdmount.UnmountAll(root, 0))
		}
		mounted = false
	}
	t.Cleanup(done)
	return root, done
}

func ownerOf(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return [2]uint32{st.Uid, st.Gid}
}

// runIn runs a shell script in dir. With mapped the script runs as root of a
// user namespace with twoRanges, and otherwise as this process does.
func runIn(t *testing.T, dir string, mapped bool, script string) {
	t.Helper()
	// A user in the namespace may have no access to the directories above dir, so
	// pass dir as an open file.
	f, err := os.Open(dir)
	require.NoError(t, err)
	defer f.Close()
	cmd := exec.Command("/bin/sh", "-ec", "cd /proc/self/fd/3; "+script)
	cmd.ExtraFiles = []*os.File{f}
	if mapped {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:                 syscall.CLONE_NEWUSER,
			UidMappings:                []syscall.SysProcIDMap{{HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100001, Size: 65535}},
			GidMappings:                []syscall.SysProcIDMap{{HostID: 100000, Size: 65536}},
			GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{},
		}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestWhatAContainerWithMappedIDsWroteIsTheSameLayerAsWithout(t *testing.T) {
	const script = `umask 022; echo x >new; chown 7:8 new; chmod 4755 new; echo more >>user; rm gone; mkdir d; ln user d/link
touch -d @1700000000 new user d/link d .`
	eachMapped(t, func(t *testing.T, s *Snapshotter) {
		for _, key := range []string{"plain", "mapped"} {
			var opts []snapshots.Opt
			if key == "mapped" {
				opts = append(opts, twoRanges)
			}
			mounts, err := s.Prepare(t.Context(), key, "base", opts...)
			require.NoError(t, err)
			again, err := s.Mounts(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, mounts, again)
			root, done := mountAsEngine(t, mounts)
			if key == "mapped" {
				require.Equal(t, [2]uint32{1000, 100000}, ownerOf(t, root))
				require.Equal(t, [2]uint32{1000, 100000}, ownerOf(t, root+"/root"))
				require.Equal(t, [2]uint32{101000, 101000}, ownerOf(t, root+"/user"))
			}
			runIn(t, root, key == "mapped", script)
			if key == "mapped" {
				require.Equal(t, [2]uint32{100007, 100008}, ownerOf(t, root+"/new"))
				require.Equal(t, [2]uint32{1000, 100000}, ownerOf(t, root+"/d"))
			}
			done()
		}
		require.Equal(t, diffOf(t, s, "plain"), diffOf(t, s, "mapped"))
		require.NoError(t, s.Commit(t.Context(), "committed", "mapped", twoRanges))
		require.Equal(t, diffOf(t, s, "plain"), diffOf(t, s, "committed"))
		info, err := s.Stat(t.Context(), "committed")
		require.NoError(t, err)
		require.Empty(t, info.Labels, "the map has ended")
		mounts, err := s.View(t.Context(), "view", "committed")
		require.NoError(t, err)
		root, _ := mountAsEngine(t, mounts)
		require.Equal(t, [2]uint32{7, 8}, ownerOf(t, root+"/new"))
		require.Equal(t, [2]uint32{1000, 1000}, ownerOf(t, root+"/user"))
		requireSound(t, s)
	})
}

func TestAViewWithMappedIDsIsMappedAndReadOnly(t *testing.T) {
	eachMapped(t, func(t *testing.T, s *Snapshotter) {
		mounts, err := s.View(t.Context(), "view", "base", twoRanges)
		require.NoError(t, err)
		root, _ := mountAsEngine(t, mounts)
		require.Equal(t, [2]uint32{1000, 100000}, ownerOf(t, root+"/root"))
		require.Equal(t, [2]uint32{101000, 101000}, ownerOf(t, root+"/user"))
		require.ErrorIs(t, os.WriteFile(root+"/new", nil, 0o600), unix.EROFS)
	})
}

func TestTheMapOfASnapshotStaysAsItWasMade(t *testing.T) {
	s := openMapped(t, "vfs")
	_, err := s.Prepare(t.Context(), "key", "base", twoRanges)
	require.NoError(t, err)
	label := snapshots.LabelSnapshotUIDMapping
	for _, value := range []string{"", "0:2000:1000"} {
		_, err = s.Update(t.Context(), snapshots.Info{Name: "key", Labels: map[string]string{label: value}}, "labels."+label)
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	}
	info, err := s.Update(t.Context(), snapshots.Info{Name: "key", Labels: map[string]string{"a": "1"}})
	require.NoError(t, err)
	m, err := IDMap(info.Labels)
	require.NoError(t, err)
	uid, gid, err := m.ToHost(1, 2)
	require.NoError(t, err)
	require.Equal(t, [2]uint32{100001, 100002}, [2]uint32{uid, gid})
}

func TestAFileOfNobodyInTheContainerIsAFailedPrecondition(t *testing.T) {
	s := openMapped(t, "overlay2")
	mounts, err := s.Prepare(t.Context(), "key", "base", twoRanges)
	require.NoError(t, err)
	root, done := mountAsEngine(t, mounts)
	require.NoError(t, os.WriteFile(root+"/hosts", nil, 0o600))
	done()
	err = s.Commit(t.Context(), "name", "key")
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	require.ErrorContains(t, err, "hosts: ID is not mapped: user 0 of the host")
	require.NoError(t, s.Remove(t.Context(), "key"))
	requireSound(t, s)
}

func TestACopyThatContainerdMadeForTheMapIsNotMappedAgain(t *testing.T) {
	s := openMapped(t, "overlay2")
	sc, err := s.Scope("containerd")
	require.NoError(t, err)
	layer := string(fstest.Layer(t, fstest.File("root", "r").WithOwner(1000, 100_000)))
	commit(t, s, sc.Full("default/1/sha256:base"), "", layer)
	copies := map[string]bool{
		"sha256:base-1000-100000": true,
		digest.FromString(`{"Parent":"sha256:base","IDMap":{"UidMap":[{"containerID":0,"hostID":1000,"size":1},` +
			`{"containerID":1,"hostID":100001,"size":65535}],"GidMap":[{"containerID":0,"hostID":100000,"size":65536}]}}`).String(): true,
		"sha256:base-2000-100000":           false,
		digest.FromString("other").String(): false,
	}
	for name, remapped := range copies {
		name = "default/2/" + name
		commit(t, s, sc.Full(name), sc.Full("default/1/sha256:base"), layer)
		// The order of the ranges makes no difference.
		mounts, err := sc.Prepare(t.Context(), "default/3/"+name, name, mapping("1:100001:65535,0:1000:1", "0:100000:65536"))
		require.NoError(t, err, name)
		root, done := mountAsEngine(t, mounts)
		want := [2]uint32{1000, 100_000}
		if !remapped {
			want = [2]uint32{101_000, 65_534} // a user of the container, and a group that the container does not have
		}
		require.Equal(t, want, ownerOf(t, root+"/root"), name)
		done()
	}
}
