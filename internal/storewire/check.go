package storewire

import (
	"github.com/opencontainers/go-digest"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
)

// FromFinding makes a message of something that a check has found.
func FromFinding(f check.Finding) *storev1.CheckFinding {
	return &storev1.CheckFinding{
		Part: string(f.Part), Name: []byte(f.Name), Layer: string(f.Layer), Path: []byte(f.Path), What: []byte(f.What),
		Images: f.Images, Broken: f.Broken, Blob: f.Blob.String(),
	}
}

// ToFinding is the inverse of [FromFinding].
func ToFinding(f *storev1.CheckFinding) check.Finding {
	return check.Finding{
		Part: check.Part(f.GetPart()), Name: string(f.GetName()), Layer: driver.ID(f.GetLayer()), Path: string(f.GetPath()),
		What: string(f.GetWhat()), Images: f.GetImages(), Broken: f.GetBroken(), Blob: digest.Digest(f.GetBlob()),
	}
}

// FromSummary makes a message of what a check has looked at.
func FromSummary(s check.Summary) *storev1.CheckSummary {
	return &storev1.CheckSummary{
		Snapshots: int64(s.Snapshots), Images: int64(s.Images), Blobs: int64(s.Blobs), Unread: int64(s.Unread),
		Bytes: s.Bytes, Findings: int64(s.Findings), Changed: int64(s.Changed),
	}
}

// ToSummary is the inverse of [FromSummary].
func ToSummary(s *storev1.CheckSummary) check.Summary {
	return check.Summary{
		Snapshots: int(s.GetSnapshots()), Images: int(s.GetImages()), Blobs: int(s.GetBlobs()), Unread: int(s.GetUnread()),
		Bytes: s.GetBytes(), Findings: int(s.GetFindings()), Changed: int(s.GetChanged()),
	}
}
