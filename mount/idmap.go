package mount

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Errors of ID maps; match them with [errors.Is].
var (
	// ErrIDMap: the text or value is not an ID map that the kernel takes.
	ErrIDMap = errors.New("invalid ID mapping")
	// ErrUnmapped: the map does not contain this ID.
	ErrUnmapped = errors.New("ID is not mapped")
)

// What the kernel takes: ranges of one map (user_namespaces(7)), and bytes of
// the lines that they are written as.
const (
	maxIDRanges = 340
	maxIDText   = 4096
)

// An IDRange maps Size consecutive IDs: the container's IDs from Container on
// are the host's IDs from Host on.
type IDRange struct {
	Container uint32 `json:"container"`
	Host      uint32 `json:"host"`
	Size      uint32 `json:"size"`
}

// An IDMap translates between the IDs of a container and the IDs of the host,
// as a user namespace does. A mount with a map shows a file of a container's ID
// as a file of the host's ID.
//
//	m, err := mount.ParseIDMap("0:100000:65536", "0:100000:65536")
//	uid, ok := m.HostUID(0) // 100000, true
type IDMap struct {
	UIDs []IDRange `json:"uids"`
	GIDs []IDRange `json:"gids"`
}

// ParseIDMap reads ranges of the form CONTAINER:HOST:SIZE, in decimal and
// joined by commas, as in the labels of containerd's snapshots. An error
// matches [ErrIDMap].
func ParseIDMap(uids, gids string) (IDMap, error) {
	u, err := parseRanges(uids)
	if err != nil {
		return IDMap{}, fmt.Errorf("user IDs: %w", err)
	}
	g, err := parseRanges(gids)
	if err != nil {
		return IDMap{}, fmt.Errorf("group IDs: %w", err)
	}
	m := IDMap{UIDs: u, GIDs: g}
	return m, m.Validate()
}

func parseRanges(text string) ([]IDRange, error) {
	parts := strings.SplitN(text, ",", maxIDRanges+1)
	ranges := make([]IDRange, 0, len(parts))
	for _, part := range parts {
		fields := strings.Split(part, ":")
		if len(fields) != 3 {
			return nil, fmt.Errorf("%w: %.64q is not CONTAINER:HOST:SIZE", ErrIDMap, part)
		}
		var n [3]uint32
		for i, field := range fields {
			v, err := strconv.ParseUint(field, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%w: %.64q: %.64q is not a number of 32 bits", ErrIDMap, part, field)
			}
			n[i] = uint32(v)
		}
		ranges = append(ranges, IDRange{Container: n[0], Host: n[1], Size: n[2]})
	}
	return ranges, nil
}

// Validate returns nil when the kernel takes the map and the map has a host ID
// for root. Otherwise it returns an error that matches [ErrIDMap].
func (m IDMap) Validate() error {
	if err := validate(m.UIDs); err != nil {
		return fmt.Errorf("user IDs: %w", err)
	}
	if err := validate(m.GIDs); err != nil {
		return fmt.Errorf("group IDs: %w", err)
	}
	if _, _, err := m.ToHost(0, 0); err != nil {
		return fmt.Errorf("%w: root of the container: %w", ErrIDMap, err)
	}
	return nil
}

func validate(ranges []IDRange) error {
	if len(ranges) == 0 {
		return fmt.Errorf("%w: it is empty", ErrIDMap)
	}
	text := 0
	for _, r := range ranges {
		// The greatest number means "no ID".
		if r.Size == 0 || uint64(max(r.Container, r.Host))+uint64(r.Size) > math.MaxUint32 {
			return fmt.Errorf("%w: %s: its size is 0 or it goes past the greatest ID", ErrIDMap, r)
		}
		text += len(r.String()) + 1
	}
	if len(ranges) > maxIDRanges || text >= maxIDText {
		return fmt.Errorf("%w: it is too long: at most %d ranges in %d bytes", ErrIDMap, maxIDRanges, maxIDText-1)
	}
	if err := disjoint(ranges, func(r IDRange) uint32 { return r.Container }); err != nil {
		return err
	}
	return disjoint(ranges, func(r IDRange) uint32 { return r.Host })
}

// disjoint refuses ranges that overlap on the side that first gives.
func disjoint(ranges []IDRange, first func(IDRange) uint32) error {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b IDRange) int { return cmp.Compare(first(a), first(b)) })
	for i := 1; i < len(sorted); i++ {
		if before := sorted[i-1]; first(sorted[i])-first(before) < before.Size {
			return fmt.Errorf("%w: %s and %s overlap", ErrIDMap, before, sorted[i])
		}
	}
	return nil
}

// String returns CONTAINER:HOST:SIZE.
func (r IDRange) String() string {
	return fmt.Sprintf("%d:%d:%d", r.Container, r.Host, r.Size)
}

// Texts returns the ranges in the form that [ParseIDMap] reads.
func (m IDMap) Texts() (uids, gids string) { return rangesText(m.UIDs), rangesText(m.GIDs) }

func rangesText(ranges []IDRange) string {
	parts := make([]string, len(ranges))
	for i, r := range ranges {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// ToHost returns the host's IDs for a container's IDs. The error matches
// [ErrUnmapped] when the map does not contain one of them.
func (m IDMap) ToHost(uid, gid uint32) (hostUID, hostGID uint32, err error) {
	return both(uid, gid, m.HostUID, m.HostGID, "container")
}

// ToContainer returns a container's IDs for the host's IDs. The error matches
// [ErrUnmapped] when the map does not contain one of them.
func (m IDMap) ToContainer(uid, gid uint32) (containerUID, containerGID uint32, err error) {
	return both(uid, gid, m.ContainerUID, m.ContainerGID, "host")
}

func both(uid, gid uint32, mapUID, mapGID func(uint32) (uint32, bool), side string) (uint32, uint32, error) {
	u, ok := mapUID(uid)
	if !ok {
		return 0, 0, fmt.Errorf("%w: user %d of the %s", ErrUnmapped, uid, side)
	}
	g, ok := mapGID(gid)
	if !ok {
		return 0, 0, fmt.Errorf("%w: group %d of the %s", ErrUnmapped, gid, side)
	}
	return u, g, nil
}

// HostUID returns the host's ID of a container's user. It returns false when
// there is none.
func (m IDMap) HostUID(id uint32) (uint32, bool) { return toHost(m.UIDs, id) }

// HostGID is HostUID for groups.
func (m IDMap) HostGID(id uint32) (uint32, bool) { return toHost(m.GIDs, id) }

// ContainerUID returns the container's ID of a host user. It returns false when
// there is none.
func (m IDMap) ContainerUID(id uint32) (uint32, bool) { return toContainer(m.UIDs, id) }

// ContainerGID is ContainerUID for groups.
func (m IDMap) ContainerGID(id uint32) (uint32, bool) { return toContainer(m.GIDs, id) }

func toHost(ranges []IDRange, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if id >= r.Container && id-r.Container < r.Size {
			return r.Host + (id - r.Container), true
		}
	}
	return 0, false
}

func toContainer(ranges []IDRange, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if id >= r.Host && id-r.Host < r.Size {
			return r.Container + (id - r.Host), true
		}
	}
	return 0, false
}
