package drivertest

import (
	"errors"
	"maps"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// idMap has several ranges, and some IDs mean one thing in the container and
// another on the host: that something was translated twice, or not at all,
// shows.
func idMap() *mount.IDMap {
	return &mount.IDMap{
		UIDs: []mount.IDRange{{Container: 0, Host: 1000, Size: 1000}, {Container: 1000, Host: 70_000, Size: 1000}},
		GIDs: []mount.IDRange{{Container: 0, Host: 500, Size: 1000}, {Container: 1000, Host: 80_000, Size: 1000}},
	}
}

// Capabilities as in a layer, and as root of a user namespace sets them who is
// user 1000 of the host: struct vfs_cap_data and vfs_ns_cap_data.
const (
	capability     = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	hostCapability = "\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe8\x03\x00\x00"
	accessList     = "system.posix_acl_access"
	// Who is in access control lists, on either side. Their IDs in the container
	// are nobody's on the host.
	aclUser, hostACLUser   = 5, 1005
	aclGroup, hostACLGroup = 1600, 80_600
	capabilityOfFile       = "security.capability"
)

// acl is an access control list for a user and a group.
func acl(user, group uint32) string {
	entry := func(tag, perm byte, id uint32) string {
		return string([]byte{tag, 0, perm, 0, byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)})
	}
	const none = 1<<32 - 1
	return "\x02\x00\x00\x00" + entry(0x01, 6, none) + entry(0x02, 7, user) + entry(0x04, 4, none) +
		entry(0x08, 5, group) + entry(0x10, 4, none) + entry(0x20, 4, none)
}

// mapScript is what a container does; its times are told afterwards.
const mapScript = `set -e; umask 022
echo new >new; chown 1001:1002 new; chmod 4755 new
mkdir dir; echo x >dir/x; ln dir/x dir/y; ln -s x dir/s; chown -h 7:8 dir/s; mkfifo dir/p; chown 1999:999 dir
echo more >>user; chmod 2711 tool; chown 5:6 kept/f; rm -r gone; rm kept/g; rm -r again; mkdir again; echo z >again/z
ln user link
`

// testIDMap makes layers whose mounts have mapped IDs.
func (s *suite) testIDMap(t *testing.T) {
	t.Run("a map that is none is refused and leaves nothing", s.idMapBad)
	if !s.props.Idmap {
		t.Run("a map is refused as unsupported and leaves nothing", s.idMapNone)
		return
	}
	t.Run("mounts have the host's IDs, all else the container's", s.idMapWhole)
	t.Run("an access control list that was copied up is the container's", s.idMapACL)
	t.Run("a view with a map shows the host's IDs", s.idMapView)
	t.Run("what belongs to nobody in the container cannot be sealed", s.idMapStranger)
	t.Run("a layer is applied or refused whole", s.idMapApply)
	t.Run("a root directory of nobody on the host is refused", s.idMapRoot)
}

func (s *suite) idMapBad(t *testing.T) {
	st := s.open(t)
	before := st.countFiles()
	bad := &mount.IDMap{UIDs: []mount.IDRange{{Container: 1, Host: 1, Size: 1}}, GIDs: []mount.IDRange{{Size: 1}}}
	err := st.d.Create(t.Context(), "a", nil, driver.CreateOptions{IDMap: bad})
	if s.props.Idmap {
		require.ErrorIs(t, err, mount.ErrIDMap)
	} else {
		require.ErrorIs(t, err, driver.ErrUnsupported)
	}
	st.requireLayers()
	require.Equal(t, before, st.countFiles())
}

func (s *suite) idMapNone(t *testing.T) {
	st := s.open(t)
	before := st.countFiles()
	require.ErrorIs(t, st.d.Create(t.Context(), "a", nil, driver.CreateOptions{IDMap: idMap()}), driver.ErrUnsupported)
	st.requireLayers()
	require.Equal(t, before, st.countFiles())
}

// idMapBase is a layer with all kinds of owners.
func (st *store) idMapBase() []driver.ID {
	return st.layer("base", nil,
		Dir("./").WithOwner(3, 4), File("user", "u").WithOwner(1000, 1000), File("tool", "t").WithXattr(capabilityOfFile, capability),
		File("list", "l").WithXattr(accessList, acl(aclUser, aclGroup)),
		Dir("kept").WithOwner(1, 1), File("kept/f", "f").WithOwner(999, 1000), File("kept/g", "g"),
		Dir("gone"), File("gone/f", "f"), Dir("again").WithOwner(9, 9), File("again/f", "f"))
}

// createMapped creates a layer whose mounts have mapped IDs.
func (st *store) createMapped(id driver.ID, opts driver.CreateOptions, parents ...driver.ID) {
	st.t.Helper()
	opts.IDMap = idMap()
	require.NoError(st.t, st.d.Create(st.ctx(), id, parents, opts), "create %s with a map", id)
	st.remember(id, parents)
}

// onHost is a tree as it looks on the host.
func onHost(t *testing.T, tree Tree) Tree {
	t.Helper()
	out := Tree{}
	for p, n := range tree {
		var err error
		n.UID, n.GID, err = idMap().ToHost(n.UID, n.GID)
		require.NoError(t, err)
		if _, ok := n.Xattrs[accessList]; ok {
			n.Xattrs = maps.Clone(n.Xattrs)
			n.Xattrs[accessList] = acl(hostACLUser, hostACLGroup)
		}
		if _, ok := n.Xattrs[capabilityOfFile]; ok {
			n.Xattrs = maps.Clone(n.Xattrs)
			n.Xattrs[capabilityOfFile] = hostCapability
		}
		out[p] = n
	}
	return out
}

func (s *suite) idMapWhole(t *testing.T) {
	s.needMounts(t)
	st := s.open(t)
	chain := st.idMapBase()
	st.createMapped("mapped", driver.CreateOptions{}, chain...)
	st.requireMounted("mapped", onHost(t, st.tree("base")), "before anything is written")
	st.create("plain", chain...)
	for id, m := range map[driver.ID]*mount.IDMap{"mapped": idMap(), "plain": nil} {
		st.mounted(id, driver.MountOptions{}, func(root string) error { return inContainer(t, m, root, mapScript) })
	}
	user, group, caps := uint32(aclUser), uint32(aclGroup), capability
	for _, id := range []driver.ID{"plain", "mapped"} {
		st.edit(id, SetXattr("user", accessList, acl(user, group)), SetXattr("link", capabilityOfFile, caps))
		st.stampTimes(id)
		user, group, caps = hostACLUser, hostACLGroup, hostCapability
	}
	st.requireMounted("mapped", onHost(t, st.tree("plain")), "after it was written to")

	want := st.diff("plain")
	check := func(what string) {
		RequireEqual(t, st.tree("plain"), st.tree("mapped"), what+": the view")
		require.Equal(t, st.changes("plain"), st.changes("mapped"), what+": the changes")
		require.Equal(t, listing(t, want), listing(t, st.diff("mapped")), what+": the entries")
		require.Equal(t, want, st.diff("mapped"), what+": the bytes")
	}
	check("writable")
	st.seal("plain")
	st.seal("mapped")
	st.seal("mapped") // again
	check("sealed")
	st.requireTree(st.tree("plain"), "mapped", "sealed")
	st.create("child", append([]driver.ID{"mapped"}, chain...)...)
	st.requireTree(st.tree("plain"), "child", "a child")
	st.createMapped("twice", driver.CreateOptions{}, append([]driver.ID{"mapped"}, chain...)...)
	st.requireMounted("twice", onHost(t, st.tree("plain")), "a child with a map")
}

// idMapACL does not look at the mount: on an xfs, the kernel copies up access
// control lists as they are on disk, with the IDs of the container.
func (s *suite) idMapACL(t *testing.T) {
	s.needMounts(t)
	st := s.open(t)
	chain := st.idMapBase()
	st.createMapped("mapped", driver.CreateOptions{}, chain...)
	st.create("plain", chain...)
	for _, id := range []driver.ID{"plain", "mapped"} {
		st.edit(id, Touch("list", EditTime))
	}
	require.Equal(t, listing(t, st.diff("plain")), listing(t, st.diff("mapped")))
	st.seal("mapped")
	st.requireTree(st.tree("plain"), "mapped", "sealed")
}

// requireMounted fails unless the mount of a layer shows want.
func (st *store) requireMounted(id driver.ID, want Tree, what string) {
	st.t.Helper()
	st.mounted(id, driver.MountOptions{}, func(root string) error {
		got, err := ReadPath(root)
		if err == nil {
			RequireEqual(st.t, want, got, what)
		}
		return err
	})
}

// stampTimes gives everything that is written one time, so that two layers can
// be compared.
func (st *store) stampTimes(id driver.ID) {
	st.t.Helper()
	var edits []Edit
	for _, p := range st.tree(id).Paths() {
		if p != "list" { // see idMapACL
			edits = append(edits, Touch(p, EditTime))
		}
	}
	st.edit(id, edits...)
}

func (s *suite) idMapView(t *testing.T) {
	s.needMounts(t)
	st := s.open(t)
	chain := st.idMapBase()
	st.createMapped("v", driver.CreateOptions{View: true}, chain...)
	st.requireMounted("v", onHost(t, st.tree("base")), "a view")
	RequireEqual(t, st.tree("base"), st.tree("v"), "read without mounting it")
	require.ErrorIs(t, st.tryEdit("v", Create("new", "n")), syscall.EROFS)
	require.Empty(t, st.changes("v"))
}

func (s *suite) idMapStranger(t *testing.T) {
	s.needMounts(t)
	st := s.open(t)
	st.createMapped("a", driver.CreateOptions{}, st.idMapBase()...)
	err := st.tryEdit("a", Create("d", "x"), Chown("d", 7, 7)) // as root of the host
	if errors.Is(err, syscall.EOVERFLOW) {
		st.seal("a")
		return // where the mount refuses it
	}
	require.NoError(t, err)
	var failed error
	for _, err := range driver.Changes(t.Context(), st.d, "a", nil) {
		failed = errors.Join(failed, err)
	}
	require.ErrorIs(t, failed, mount.ErrUnmapped)
	before := st.countFiles()
	err = st.d.Seal(t.Context(), "a")
	require.ErrorIs(t, err, mount.ErrUnmapped)
	require.ErrorContains(t, err, "d: ")
	require.Equal(t, before, st.countFiles())
	st.edit("a", Chown("d", 1007, 507))
	st.seal("a")
	require.Equal(t, [2]uint32{7, 7}, [2]uint32{st.tree("a")["d"].UID, st.tree("a")["d"].GID})
}

func (s *suite) idMapApply(t *testing.T) {
	st := s.open(t)
	chain := st.idMapBase()
	st.createMapped("a", driver.CreateOptions{}, chain...)
	entries := []Entry{File("new", "n").WithOwner(1000, 1000), Whiteout("user")}
	if err := st.apply("a", entries...); err != nil {
		require.ErrorIs(t, err, driver.ErrUnsupported)
		RequireEqual(t, st.tree("base"), st.tree("a"), "refused")
		return
	}
	st.create("b", chain...)
	st.mustApply("b", entries...)
	RequireEqual(t, st.tree("b"), st.tree("a"), "applied")
}

func (s *suite) idMapRoot(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, Dir("./").WithOwner(60_000, 0))
	before := st.countFiles()
	err := st.d.Create(t.Context(), "a", chain, driver.CreateOptions{IDMap: idMap()})
	if err == nil {
		return // where nobody's directory can be shown
	}
	require.ErrorIs(t, err, mount.ErrUnmapped)
	st.requireLayers("base")
	require.Equal(t, before, st.countFiles())
}
