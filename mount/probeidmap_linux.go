package mount

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// probeIDs is far from what a scratch directory belongs to.
const probeIDs = 1 << 20

// ProbeIDMap makes mounts to find out whether mounts on the file system of dir
// can have an ID map: bind mounts, or with overlay the lower directories of
// overlays. Dir is an existing empty directory, and ProbeIDMap leaves its files
// in it. The errors are those of [Mounter.Probe].
func (mr Mounter) ProbeIDMap(ctx context.Context, dir string, overlay bool) error {
	if err := mr.probeIDMap(ctx, dir, overlay); err != nil {
		if passing(err) {
			return fmt.Errorf("mounts with mapped IDs: %w", err)
		}
		return unsupportedBy("mounts with mapped IDs", err)
	}
	return nil
}

func (mr Mounter) probeIDMap(ctx context.Context, dir string, overlay bool) error {
	for _, d := range []string{"/idlower", "/idlower/d", "/idempty", "/idmerged"} {
		if err := os.Mkdir(dir+d, 0o700); err != nil {
			return err
		}
	}
	m := Mount{Type: "bind", Source: dir + "/idlower"}
	if overlay {
		// Without an upper directory, whose file system would be synced in the end.
		m = Mount{Type: "overlay", Source: "overlay", ReadOnly: true, Overlay: &Overlay{
			Lower: []string{dir + "/idlower", dir + "/idempty"},
		}}
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir+"/idlower/d", &st); err != nil {
		return err
	}
	acl, err := setProbeACL(dir + "/idlower/d")
	if err != nil {
		return err
	}
	m.IDMap = &IDMap{
		UIDs: []IDRange{{Container: 0, Host: probeIDs, Size: probeIDs}}, GIDs: []IDRange{{Container: 0, Host: probeIDs, Size: probeIDs}},
	}
	uid, gid, err := m.IDMap.ToHost(st.Uid, st.Gid)
	if err != nil {
		return err
	}
	return mr.checkMapped(ctx, m, dir+"/idmerged", uid, gid, acl)
}

const (
	aclXattr = "system.posix_acl_access"
	aclUser  = 5 // who is named in the probe's access control list
)

// probeACL is the list that gives one user all rights, as the kernel keeps it
// (posix_acl_xattr.h).
func probeACL(user uint32) []byte {
	b := []byte{2, 0, 0, 0}
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, ^uint32(0)}, {2, 7, user}, {4, 5, ^uint32(0)}, {16, 7, ^uint32(0)}, {32, 5, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// setProbeACL reports whether the file system has access control lists.
func setProbeACL(path string) (bool, error) {
	err := unix.Setxattr(path, aclXattr, probeACL(aclUser), 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil, err
}

// checkMapped mounts m and returns an error unless d in it belongs to these
// IDs, and its access control list names them too: overlay shows the lists of
// mapped lower directories as they are before Linux 6.2.
func (mr Mounter) checkMapped(ctx context.Context, m Mount, target string, uid, gid uint32, acl bool) error {
	p := &prober{ctx: ctx, mr: mr}
	root, done, err := p.mount(m, target)
	if err != nil {
		return err
	}
	st, err := sys.Fstatat(int(root.Fd()), "d")
	var list []byte
	if err == nil && acl {
		list, _, err = sys.Lgetxattrat(int(root.Fd()), "d", aclXattr)
	}
	if derr := done(); err == nil {
		err = derr
	}
	if err == nil && (st.Uid != uid || st.Gid != gid) {
		err = fmt.Errorf("a file belongs to %d:%d instead of %d:%d", st.Uid, st.Gid, uid, gid)
	}
	if err == nil && acl {
		named, _, merr := m.IDMap.ToHost(aclUser, aclUser)
		if err = merr; err == nil && !bytes.Equal(list, probeACL(named)) {
			err = errors.New("the kernel does not map the IDs in access control lists (needs Linux 6.2)")
		}
	}
	return err
}
