package tar

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// explainOwner explains an error of setting the owner of a file. chown(2)
// returns EINVAL for an ID that is not mapped in the user namespace of this
// process.
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

// maxRanges is the number of ranges that an error lists.
const maxRanges = 4

// lacksID reports whether the user namespace of this process has no mapping for
// an ID. ranges lists the IDs that it has.
func lacksID(kind string, id uint32) (ranges string, lacks bool) {
	m, err := user.ParseIDMapFile("/proc/self/" + kind + "_map")
	if err != nil {
		return "", false // the caller's own error matters more
	}
	return outside(m, id)
}

// outside reports whether an ID is in no range of a map. ranges lists the
// ranges.
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

// unmappedACL returns, in words, the first ID of an access control list that is
// not mapped in the user namespace of this process. It returns "" if all are
// mapped.
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
