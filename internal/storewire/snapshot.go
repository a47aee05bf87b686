package storewire

import (
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// kinds pairs the kinds of snapshots with their numbers.
func kinds() map[snapshots.Kind]storev1.Kind {
	return map[snapshots.Kind]storev1.Kind{
		snapshots.KindActive: storev1.Kind_KIND_ACTIVE, snapshots.KindView: storev1.Kind_KIND_VIEW,
		snapshots.KindCommitted: storev1.Kind_KIND_COMMITTED,
	}
}

// FromInfo makes a message of a snapshot.
func FromInfo(info snapshots.Info) *storev1.Snapshot {
	return &storev1.Snapshot{
		Name: info.Name, Parent: info.Parent, Kind: kinds()[info.Kind], Labels: info.Labels,
		Created: FromTime(info.Created), Updated: FromTime(info.Updated),
	}
}

// ToInfo is the inverse of [FromInfo]; a kind that is none is KindUnknown.
func ToInfo(s *storev1.Snapshot) snapshots.Info {
	return snapshots.Info{
		Name: s.GetName(), Parent: s.GetParent(), Labels: s.GetLabels(),
		Created: ToTime(s.GetCreated()), Updated: ToTime(s.GetUpdated()), Kind: toKind(s.GetKind()),
	}
}

func toKind(number storev1.Kind) snapshots.Kind {
	for kind, n := range kinds() {
		if n == number {
			return kind
		}
	}
	return snapshots.KindUnknown
}

// FromDamage makes messages of the damage of layers.
func FromDamage(damage []snapshotter.LayerDamage) []*storev1.LayerDamage {
	var out []*storev1.LayerDamage
	for _, d := range damage {
		out = append(out, &storev1.LayerDamage{Key: d.Key, Kind: kinds()[d.Kind], State: string(d.State), What: []byte(d.What)})
	}
	return out
}

// ToDamage is the inverse of [FromDamage].
func ToDamage(damage []*storev1.LayerDamage) []snapshotter.LayerDamage {
	var out []snapshotter.LayerDamage
	for _, d := range damage {
		out = append(out, snapshotter.LayerDamage{
			Key: d.GetKey(), Kind: toKind(d.GetKind()), State: snapshotter.LayerState(d.GetState()), What: string(d.GetWhat()),
		})
	}
	return out
}

// FromTime makes a message of a time; none for the zero time.
func FromTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// ToTime is the inverse of [FromTime], in UTC.
func ToTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// FromProperties makes a message of the facts of a backend.
func FromProperties(p driver.Properties) *storev1.Properties {
	return &storev1.Properties{
		Rebase: p.Rebase, Explain: p.Explain, NativeDiff: p.NativeDiff, SharesPages: p.SharesPages, Reflink: p.Reflink,
		BreaksHardlinks: p.BreaksHardlinks, RenameDir: p.RenameDir, MountsWritable: p.MountsWritable, Quota: p.Quota,
		Idmap: p.Idmap, Rootless: p.Rootless, MaxName: int64(p.MaxName), MaxParents: int64(p.MaxParents),
		XattrNamespaces: p.XattrNamespaces, MountWay: p.MountWay.String(),
		RefusedXattr: p.RefusedXattr,
		MountTimes:   int64(p.MountTimes), KeepsXattrs: p.KeepsXattrs, Volatile: p.Volatile,
	}
}

// ToProperties is the inverse of [FromProperties].
func ToProperties(p *storev1.Properties) driver.Properties {
	return driver.Properties{
		Rebase: p.GetRebase(), Explain: p.GetExplain(), NativeDiff: p.GetNativeDiff(), SharesPages: p.GetSharesPages(),
		Reflink: p.GetReflink(), BreaksHardlinks: p.GetBreaksHardlinks(), RenameDir: p.GetRenameDir(),
		MountsWritable: p.GetMountsWritable(), Quota: p.GetQuota(), Idmap: p.GetIdmap(), Rootless: p.GetRootless(),
		MaxName: int(p.GetMaxName()), MaxParents: int(p.GetMaxParents()), XattrNamespaces: p.GetXattrNamespaces(),
		MountWay: mount.ParseWay(p.GetMountWay()), RefusedXattr: p.GetRefusedXattr(),
		MountTimes: time.Duration(p.GetMountTimes()), KeepsXattrs: p.GetKeepsXattrs(), Volatile: p.GetVolatile(),
	}
}
