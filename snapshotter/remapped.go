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
// this map: a copy of its parent in which the files already have the owners of
// the host.
//
// The client of containerd makes such a copy when a snapshotter does not have
// the capability "remap-ids". Then it prepares a snapshot over the copy, and
// still sets the labels of the map. A second mapping would leave the files
// without valid owners. Only the name shows that the snapshot is such a copy.
func (s *Snapshotter) isRemapped(name string, m mount.IDMap) bool {
	if name == "" {
		return false
	}
	row, err := s.row(name)
	if err != nil || row.Parent == "" {
		return false // the caller will find out what is wrong with it
	}
	own, parent := engineName(name), engineName(row.Parent)
	return own == remappedName1(parent, m) || own == remappedName2(parent, m)
}

// engineName returns the name that a client of containerd uses for a snapshot.
// In containerd its name is NAMESPACE/NUMBER/NAME.
func engineName(name string) string {
	_, name = ScopeOf(name)
	if parts := strings.SplitN(name, "/", 3); len(parts) == 3 {
		return parts[2]
	}
	return name
}

// remappedName1 returns the name that the client of containerd 1 gives to a
// copy.
func remappedName1(parent string, m mount.IDMap) string {
	uid, gid, err := m.ToHost(0, 0)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s-%d-%d", parent, uid, gid)
}

// A specRange is an ID range in the form of the OCI runtime specification.
type specRange struct {
	Container uint32 `json:"containerID"`
	Host      uint32 `json:"hostID"`
	Size      uint32 `json:"size"`
}

// remappedName2 returns the name that the client of containerd 2 gives to a
// copy.
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
