package engines

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// idMap has two ranges for users, and one for groups, as ctr takes and as
// user_namespaces(7) shows them.
var (
	idMap    = []string{"--uidmap", "0:70000:100", "--uidmap", "100:200000:65536", "--gidmap", "0:300000:65536"}
	usersOf  = [][3]uint32{{0, 70_000, 100}, {100, 200_000, 65_536}}
	groupsOf = [][3]uint32{{0, 300_000, 65_536}}
)

// TestContainersWithMappedIDs runs containers in user namespaces, whose IDs the
// snapshotter maps.
func TestContainersWithMappedIDs(t *testing.T) {
	requirements(t, containerd2+"/containerd", containerd2+"/ctr", containerd2+"/containerd-shim-runc-v2")
	for _, backend := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run(backend, func(t *testing.T) { newRemapped(t, backend, "").remaps(t) })
	}
	t.Run("overlay2 without the capability", func(t *testing.T) {
		newRemapped(t, "overlay2", `, "remap-ids"`).copies(t)
	})
}

// copies runs a container on the copy that containerd makes of an image for a
// map when the snapshotter is not said to map IDs.
func (l *life) copies(t *testing.T) {
	l.imports(t)
	mapped := l.works(t, "mapped", append([]string{"--remap-labels"}, idMap...)...)
	require.EqualValues(t, 70_000, mapped["etc/passwd"].UID)
	require.EqualValues(t, 300_000, mapped["data/written"].GID)
	l.kill(t, "mapped")
	l.c.ctr(t, "containers", "rm", "mapped")
	l.removeImage(t, imported)
	l.requireEmpty(t)
}

// newRemapped is newLife with directories that root of a user namespace
// reaches, and without a part of the configuration.
func newRemapped(t testing.TB, backend, without string) *life {
	t.Helper()
	l := &life{img: makeImage(t, smallLayers(t))}
	dir := openDir(t)
	sockets := fstest.ShortDir(t)
	l.s = newService(t, backend, "--containerd-address", sockets+"/containerd.sock")
	l.c = newContainerdAt(t, containerd2, dir, sockets, strings.ReplaceAll(deployed(t, "config-2.toml", l.s), without, ""))
	return l
}

// smallLayers are the test image with the owners that the map has, and with all
// directories that a runtime would make.
func smallLayers(t testing.TB) [][]fstest.Entry {
	t.Helper()
	all := layers(t)
	for i, entry := range all[2] {
		if entry.UID > 65_000 {
			all[2][i] = entry.WithOwner(1000, 1001)
		}
	}
	return append(all, []fstest.Entry{fstest.Dir("run")})
}

// openDir returns a directory that everybody can go through, outside of what
// only root may enter.
func openDir(t testing.TB) string {
	t.Helper()
	dir := fstest.OpenDir(t)
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0711,size=1g"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	own := filepath.Join(dir, "containerd") // which containerd would make for itself alone
	require.NoError(t, os.Mkdir(own, 0o711))
	require.NoError(t, os.Chmod(own, 0o711))
	return own
}

// remapScript is what the containers do, one with a map and one without.
const remapScript = `set -e
	id -u; stat -c %u:%g /etc/motd /usr/bin/setuid /usr/bin/noted
	echo written >/data/written; echo more >>/etc/motd; rm /data/becomes-file; rm -r /data/old
	mkdir /data/new; echo x >/data/new/x; ln /data/new/x /data/new/y; chmod 4711 /usr/bin/noted
	touch -d @1500000000 /data/written /etc/motd /data/new/x /data/new /data /etc /`

func (l *life) remaps(t *testing.T) {
	l.imports(t)
	plain := l.works(t, "plain")
	mapped := l.works(t, "mapped", append([]string{"--remap-labels"}, idMap...)...)
	require.Equal(t, []string{"0", "70000", "100", "100", "200000", "65536"}, strings.Fields(l.in(t, "mapped", "cat /proc/self/uid_map")))
	for path, n := range plain {
		n.UID, n.GID = onHost(t, usersOf, n.UID), onHost(t, groupsOf, n.GID)
		plain[path] = n
	}
	fstest.RequireEqual(t, withoutCapabilities(plain), withoutCapabilities(mapped), "the root of the container, seen from the host")
	require.Equal(t, l.layer(t, "plain"), l.layer(t, "mapped"), "the diffs")
	l.kill(t, "plain")
	l.kill(t, "mapped")
	require.Equal(t, l.committed(t, "plain"), l.committed(t, "mapped"), "what was committed")
	l.removeImage(t, imported)
	l.requireEmpty(t)
	l.did(t, "mapped IDs")
}

// withoutCapabilities takes them out of a tree, since on the host they say
// whose root has them.
func withoutCapabilities(tree fstest.Tree) fstest.Tree {
	delete(tree["usr/bin/capable"].Xattrs, "security.capability")
	return tree
}

func onHost(t testing.TB, ranges [][3]uint32, id uint32) uint32 {
	t.Helper()
	for _, r := range ranges {
		if id >= r[0] && id-r[0] < r[2] {
			return r[1] + id - r[0]
		}
	}
	require.FailNow(t, "not mapped", "%d", id)
	return 0
}

// works starts a container, runs the script in it and returns the tree that the
// host sees then.
func (l *life) works(t testing.TB, id string, args ...string) fstest.Tree {
	t.Helper()
	args = append([]string{"run", "--detach", "--null-io", "--snapshotter", snapshotter}, args...)
	l.c.ctr(t, append(args, imported, id, "/bin/sleep", "1000")...)
	require.Equal(t, "0\n0:0\n12:34\n1000:1001\n", l.in(t, id, remapScript))
	return fstest.FromPath(t, l.c.dir+"/state/io.containerd.runtime.v2.task/default/"+id+"/rootfs")
}

// in runs a script in a container.
func (l *life) in(t testing.TB, id, script string) string {
	t.Helper()
	return l.c.ctr(t, "tasks", "exec", "--exec-id", "script", id, "/bin/sh", "-c", script)
}

// layer is the diff of a container's snapshot.
func (l *life) layer(t testing.TB, id string) string {
	t.Helper()
	return l.c.ctr(t, "snapshots", "--snapshotter", snapshotter, "diff", "--media-type", "application/vnd.oci.image.layer.v1.tar", id)
}

// committed commits the snapshot of a container that has ended, and returns
// what that shows.
func (l *life) committed(t testing.TB, id string) fstest.Tree {
	t.Helper()
	snapshots := func(args ...string) string {
		return l.c.ctr(t, append([]string{"snapshots", "--snapshotter", snapshotter}, args...)...)
	}
	snapshots("commit", id+"-committed", id) // before the container goes, and its snapshot is garbage
	l.c.ctr(t, "containers", "rm", "--keep-snapshot", id)
	snapshots("prepare", "look", id+"-committed") // no view, which containerd collects as garbage
	target := t.TempDir()
	run(t, "sh", "-c", snapshots("mounts", target, "look"))
	tree := fstest.FromPath(t, target)
	run(t, "umount", target)
	snapshots("rm", "look")
	snapshots("rm", id+"-committed")
	return tree
}
