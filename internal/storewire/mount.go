package storewire

import (
	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/mount"
)

// FromMounts makes messages of mounts.
func FromMounts(mounts []mount.Mount) []*storev1.Mount {
	var out []*storev1.Mount
	for _, m := range mounts {
		w := &storev1.Mount{Type: m.Type, Source: []byte(m.Source), ReadOnly: m.ReadOnly, Options: m.Options}
		if o := m.Overlay; o != nil {
			w.Overlay = &storev1.Overlay{Upper: []byte(o.Upper), Work: []byte(o.Work)}
			for _, l := range o.Lower {
				w.Overlay.Lower = append(w.Overlay.Lower, []byte(l))
			}
		}
		if a := m.AUFS; a != nil {
			w.Aufs = &storev1.AUFS{Append: a.Append, Xino: []byte(a.XINO)}
			for _, b := range a.Branches {
				w.Aufs.Branches = append(w.Aufs.Branches, &storev1.AUFS_Branch{Path: []byte(b.Path), Writable: b.Writable})
			}
		}
		if m.IDMap != nil {
			uids, gids := m.IDMap.Texts()
			w.IdMap = &storev1.IDMap{Uids: uids, Gids: gids}
		}
		out = append(out, w)
	}
	return out
}

// ToMounts is the inverse of [FromMounts]. An error matches mount.ErrIDMap.
func ToMounts(mounts []*storev1.Mount) ([]mount.Mount, error) {
	var out []mount.Mount
	for _, w := range mounts {
		m := mount.Mount{Type: w.GetType(), Source: string(w.GetSource()), ReadOnly: w.GetReadOnly(), Options: w.GetOptions()}
		if o := w.GetOverlay(); o != nil {
			m.Overlay = &mount.Overlay{Upper: string(o.GetUpper()), Work: string(o.GetWork())}
			for _, l := range o.GetLower() {
				m.Overlay.Lower = append(m.Overlay.Lower, string(l))
			}
		}
		if a := w.GetAufs(); a != nil {
			m.AUFS = &mount.AUFS{Append: a.GetAppend(), XINO: string(a.GetXino())}
			for _, b := range a.GetBranches() {
				m.AUFS.Branches = append(m.AUFS.Branches, mount.Branch{Path: string(b.GetPath()), Writable: b.GetWritable()})
			}
		}
		if w.GetIdMap() != nil {
			ids, err := mount.ParseIDMap(w.GetIdMap().GetUids(), w.GetIdMap().GetGids())
			if err != nil {
				return nil, err
			}
			m.IDMap = &ids
		}
		out = append(out, m)
	}
	return out, nil
}
