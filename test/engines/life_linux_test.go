package engines

import (
	stdtar "archive/tar"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A life is a containerd on a service, and what happens there.
type life struct {
	s        *service
	c        *containerd
	img      image
	registry string
}

const (
	imported = "imported/image:" + tag
	box      = "box"
)

func newLife(t testing.TB, tools, backend string, o settings) *life {
	t.Helper()
	l := &life{img: testImage(t), registry: newRegistry(t)}
	binary := "containerd"
	if tools != "" {
		binary = tools + "/containerd"
	}
	version := versionOf(t, program(t, binary), "--version")
	sockets := fstest.ShortDir(t)
	l.s = newService(t, backend, "--containerd-address", sockets+"/containerd.sock")
	fragment := o.fragment(version, l.s.address)
	if o.deployed != "" {
		fragment = deployed(t, o.deployed, l.s)
	}
	l.c = newContainerdAt(t, tools, workDir(t, "")+"/containerd", sockets, fragment)
	return l
}

func (l *life) did(t testing.TB, operation string) {
	t.Helper()
	did(t, "containerd", l.c.version, l.s.backend, operation)
}

// whole goes through all of it.
func (l *life) whole(t *testing.T) {
	t.Helper()
	l.imports(t)
	l.removeImage(t, imported)
	name := l.pulls(t)
	l.runs(t, name)
	l.runsOn(t, name)
	l.diffs(t)
	l.commits(t)
	l.c.ctr(t, "snapshots", "--snapshotter", snapshotter, "rm", "committed")
	l.removeImage(t, name)
	l.requireEmpty(t)
	l.did(t, "remove and gc")
}

// imports imports the image from an archive and compares its tree.
func (l *life) imports(t testing.TB) {
	t.Helper()
	l.c.ctr(t, "images", "import", "--snapshotter", snapshotter, "--base-name", "imported/image", l.img.archive)
	fstest.RequireEqual(t, l.img.tree, l.tree(t, imported, snapshotter), "the imported image")
	l.did(t, "import")
}

// pulls pulls the image from the registry and compares its tree.
func (l *life) pulls(t testing.TB) string {
	t.Helper()
	name := l.img.push(t, l.registry, "pulled")
	l.c.ctr(t, "images", "pull", "--plain-http", "--snapshotter", snapshotter, name)
	fstest.RequireEqual(t, l.img.tree, l.tree(t, name, snapshotter), "the pulled image")
	l.did(t, "pull")
	return name
}

// tree reads the tree of an image that is unpacked. The time of the root
// directory, which the image says nothing of, is when engines' appliers ran.
func (l *life) tree(t testing.TB, name, snapshotter string) fstest.Tree {
	t.Helper()
	return l.treeIn(t, "default", name, snapshotter)
}

// treeIn is tree for an image in another namespace of containerd.
func (l *life) treeIn(t testing.TB, namespace, name, snapshotter string) fstest.Tree {
	t.Helper()
	target := t.TempDir()
	l.c.ctr(t, "--namespace", namespace, "images", "mount", "--snapshotter", snapshotter, name, target)
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			l.c.ctr(t, "--namespace", namespace, "images", "unmount", "--snapshotter", snapshotter, "--rm", target)
		}
	}
	defer unmount()
	tree := fstest.FromPath(t, target)
	unmount()
	root := tree["."]
	root.Mtime = l.img.tree["."].Mtime
	tree["."] = root
	return tree
}

// runs runs a container in the foreground.
func (l *life) runs(t testing.TB, name string) {
	t.Helper()
	out := l.c.ctr(t, "run", "--rm", "--snapshotter", snapshotter, name, "first", "/bin/sh", "-c", `
		cat /etc/motd /etc/conf.d/* /data/gone
		test ! -e /data/tree && test ! -e /data/old/one && echo rm -r /data/old && rm -r /data/old
		echo written > /data/written && cat /data/written`)
	require.Equal(t, "second\nc\ncame back\nrm -r /data/old\nwritten\n", out)
	l.did(t, "run")
}

// runsOn starts a container that changes its file system, before and after the
// service was restarted under it.
func (l *life) runsOn(t testing.TB, name string) {
	t.Helper()
	l.c.ctr(t, "run", "--detach", "--null-io", "--snapshotter", snapshotter, name, box, "/bin/sh", "-c", "echo alive > /data/alive; sleep 1000")
	l.exec(t, "one", `mv /data/many /data/lots && rm /etc/issue && echo more >> /etc/motd`)
	l.did(t, "exec")
	l.s.restart(t)
	l.exec(t, "two", `ln /etc/group /etc/group2 && chmod 711 /root && rm -r /data/becomes-dir && mkdir /data/becomes-dir`)
	l.c.reconnects(t)
	require.Contains(t, l.c.ctr(t, "snapshots", "--snapshotter", snapshotter, "ls"), box)
	l.did(t, "restart of the service")
}

// reconnects waits until the engine speaks to a service that was started anew.
// For about a second after a failure it does not try.
func (c *containerd) reconnects(t testing.TB) {
	t.Helper()
	eventually(t, readyWithin, func() error {
		_, err := c.try("snapshots", "--snapshotter", snapshotter, "prepare", "probe")
		if err == nil {
			_, err = c.try("snapshots", "--snapshotter", snapshotter, "rm", "probe")
		}
		return err
	})
}

func (l *life) exec(t testing.TB, id, script string) {
	t.Helper()
	l.c.ctr(t, "tasks", "exec", "--exec-id", id, box, "/bin/sh", "-c", script)
}

// diffs compares the changes of the running container, in both formats.
func (l *life) diffs(t testing.TB) {
	t.Helper()
	text := l.c.ctr(t, "snapshots", "--snapshotter", snapshotter, "diff", "--media-type", "application/vnd.oci.image.layer.v1.tar", box)
	names := tarNames(t, text)
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, "data/lots/") })
	require.Subset(t, names, []string{
		"data/alive", "data/.wh.many", "etc/.wh.issue", "etc/motd", "etc/group", "etc/group2", "root/",
		"data/becomes-dir/", "data/becomes-dir/.wh.x",
	})
	require.NotContains(t, names, "usr/bin/setuid")
	l.did(t, "diff")
}

func tarNames(t testing.TB, text string) []string {
	t.Helper()
	var names []string
	for r := stdtar.NewReader(strings.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		require.NoError(t, err)
		names = append(names, h.Name)
	}
}

// commits ends the container, commits its snapshot and looks at it.
func (l *life) commits(t testing.TB) {
	t.Helper()
	before := fstest.FromPath(t, l.rootOf(t))
	l.kill(t, box)
	l.c.ctr(t, "snapshots", "--snapshotter", snapshotter, "commit", "committed", box)
	l.c.ctr(t, "containers", "rm", "--keep-snapshot", box)
	require.Contains(t, l.c.ctr(t, "snapshots", "--snapshotter", snapshotter, "usage", "committed"), "committed")
	target := t.TempDir()
	l.c.ctr(t, "snapshots", "--snapshotter", snapshotter, "prepare", "look", "committed")
	mounts := l.c.ctr(t, "snapshots", "--snapshotter", snapshotter, "mounts", target, "look")
	_, err := try("sh", "-c", mounts)
	require.NoError(t, err, mounts)
	after := fstest.FromPath(t, target)
	run(t, "umount", target)
	l.c.ctr(t, "snapshots", "--snapshotter", snapshotter, "rm", "look")
	fstest.RequireEqual(t, before, after, "what was committed")
	l.did(t, "commit")
}

// rootOf returns the mounted root of the container, as its shim has it.
func (l *life) rootOf(t testing.TB) string {
	t.Helper()
	return l.c.dir + "/state/io.containerd.runtime.v2.task/default/" + box + "/rootfs"
}

// kill ends the task of a container.
func (l *life) kill(t testing.TB, id string) {
	t.Helper()
	l.c.ctr(t, "tasks", "kill", "--signal", "SIGKILL", id)
	eventually(t, time.Minute, func() error {
		_, err := l.c.try("tasks", "rm", id)
		return err
	})
}

func (l *life) removeImage(t testing.TB, name string) {
	t.Helper()
	l.c.ctr(t, "images", "rm", "--sync", name)
}

// requireEmpty collects garbage, and requires that nothing is left in the
// store, on the disk, among the mounts and processes.
func (l *life) requireEmpty(t testing.TB) {
	t.Helper()
	l.requireEmptyIn(t, "default")
}

// requireEmptyIn is requireEmpty for other namespaces of containerd. It
// collects until nothing is left on disk: the mount manager of containerd 2
// unmounts only after the collection in which what it has mounted was removed.
func (l *life) requireEmptyIn(t testing.TB, namespaces ...string) {
	t.Helper()
	for _, namespace := range namespaces {
		l.c.ctr(t, "--namespace", namespace, "content", "prune", "references")
	}
	eventually(t, readyWithin, func() error {
		if left := l.s.snapshots(t); len(left) > 0 {
			l.c.reconnects(t) // makes and removes a snapshot, upon which containerd collects
			return fmt.Errorf("snapshots left over: %v", left)
		}
		if left := l.s.layerDirs(t); len(left) > 0 {
			l.c.reconnects(t)
			return fmt.Errorf("layers left over: %v", left)
		}
		return nil
	})
	l.c.requireGone(t)
	l.s.requireEmpty(t)
}
