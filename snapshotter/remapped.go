package snapshotter

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/mount"
)

// isRemapped reports whether containerd made the committed snapshot name for
// this map: a copy of its parent in which every file belongs to the host's IDs.
// That is what its client does with a snapshotter without the capability
// "remap-ids", before it prepares a snapshot on the copy with the labels of the
// map all the same; mapped once more, its files would be nobody's. Only the
// name tells.
func (s *Snapshotter) isRemapped(name string, m mount.IDMap) bool {
	if name == "" {
		return false
	}
	row, err := s.row(name)
	if err != nil || row.Parent == "" {
		return false // the caller finds out what is wrong with it
	}
	own, parent := engineName(name), engineName(row.Parent)
	return own == remappedName1(parent, m) || own == remappedName2(parent, m)
}

// engineName is what a client of containerd calls a snapshot that containerd
// calls NAMESPACE/NUMBER/NAME.
func engineName(name string) string {
	_, name = ScopeOf(name)
	if parts := strings.SplitN(name, "/", 3); len(parts) == 3 {
		return parts[2]
	}
	return name
}

// remappedName1 is how the client of containerd 1 names a copy.
func remappedName1(parent string, m mount.IDMap) string {
	uid, gid, err := m.ToHost(0, 0)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s-%d-%d", parent, uid, gid)
}

// A specRange is how a range is written in the OCI runtime specification.
type specRange struct {
	Container uint32 `json:"containerID"`
	Host      uint32 `json:"hostID"`
	Size      uint32 `json:"size"`
}

// remappedName2 is how the client of containerd 2 does.
func remappedName2(parent string, m mount.IDMap) string {
	var copied struct {
		Parent string
		IDMap  struct {
			UIDs []specRange `json:"UidMap"`
			GIDs []specRange `json:"GidMap"`
		}
	}
	copied.Parent = parent
	copied.IDMap.UIDs, copied.IDMap.GIDs = specRanges(m.UIDs), specRanges(m.GIDs)
	text, err := json.Marshal(copied)
	if err != nil {
		return ""
	}
	return digest.FromBytes(text).String()
}

func specRanges(ranges []mount.IDRange) []specRange {
	out := make([]specRange, len(ranges))
	for i, r := range ranges {
		out[i] = specRange(r)
	}
	slices.SortStableFunc(out, func(a, b specRange) int { return cmp.Compare(a.Container, b.Container) })
	return out
}
