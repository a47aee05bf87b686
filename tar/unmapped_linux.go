package tar

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// explainOwner explains the error of giving a file to an owner. chown(2) says
// EINVAL for an id that has no place in the user namespace of this process.
func explainOwner(uid, gid uint32, err error) error {
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	for _, id := range []struct {
		kind string
		id   uint32
	}{{"uid", uid}, {"gid", gid}} {
		if ranges, lacks := lacksID(id.kind, id.id); lacks {
			return fmt.Errorf("%w: %s %d; /proc/self/%s_map has %s", ErrUnmappedID, id.kind, id.id, id.kind, ranges)
		}
	}
	return err
}

// maxRanges is how many ranges of a map an error lists.
const maxRanges = 4

// lacksID reports whether the map of this process' user namespace is without an
// id, and what it has.
func lacksID(kind string, id uint32) (ranges string, lacks bool) {
	m, err := user.ParseIDMapFile("/proc/self/" + kind + "_map")
	if err != nil {
		return "", false // the error at hand is the one that counts
	}
	return outside(m, id)
}

// outside reports whether an id is in no range of a map, and which ranges there
// are.
func outside(m []user.IDMap, id uint32) (ranges string, is bool) {
	var has []string
	for i, r := range m {
		if int64(id) >= r.ID && int64(id)-r.ID < r.Count {
			return "", false
		}
		if i == maxRanges {
			has = append(has, "…")
		}
		if i < maxRanges {
			has = append(has, fmt.Sprintf("%d-%d", r.ID, r.ID+r.Count-1))
		}
	}
	if len(has) == 0 {
		has = []string{"none"}
	}
	return strings.Join(has, ", "), true
}

// unmappedACL returns the first id of an access control list that the user
// namespace of this process lacks, in words, or "".
func unmappedACL(value string) string {
	for _, item := range parseACL(value) {
		kind := map[uint16]string{aclUser: "uid", aclGroup: "gid"}[item.tag]
		if kind == "" {
			continue
		}
		if _, lacks := lacksID(kind, item.id); lacks {
			return fmt.Sprintf("%s %d", kind, item.id)
		}
	}
	return ""
}
