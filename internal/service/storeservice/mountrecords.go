package storeservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep"
	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// maxNote bounds one record of a mount, in bytes.
const maxNote = 64 << 10

// Notes implements the call of that name.
func (s *Service) Notes(_ *storev1.NotesRequest, stream storev1.Store_NotesServer) error {
	records, err := s.store.MountRecords(stream.Context())
	if err != nil {
		return err
	}
	var all []*storev1.Note
	for _, r := range records {
		all = append(all, &storev1.Note{Name: r.Name, Json: r.JSON})
	}
	return portions(all, func(some []*storev1.Note) error { return stream.Send(&storev1.NotesResponse{Notes: some}) })
}

// PutNote implements the call of that name.
func (s *Service) PutNote(ctx context.Context, req *storev1.PutNoteRequest) (*storev1.PutNoteResponse, error) {
	note := req.GetNote()
	if len(note.GetJson()) > maxNote {
		return nil, fmt.Errorf("%w: note %q: more than %d bytes", errdefs.ErrInvalidArgument, note.GetName(), maxNote)
	}
	// What is in it is for clients to judge, but anything else is none of theirs.
	var object map[string]json.RawMessage
	err := json.Unmarshal(note.GetJson(), &object)
	if err != nil || object == nil {
		return nil, fmt.Errorf("%w: note %q: no JSON object", errdefs.ErrInvalidArgument, note.GetName())
	}
	err = s.store.PutMountRecord(ctx, layerkeep.MountRecord{Name: note.GetName(), JSON: note.GetJson()})
	if errors.Is(err, meta.ErrInvalidName) {
		err = fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	if err != nil {
		return nil, err
	}
	return &storev1.PutNoteResponse{}, nil
}

// DeleteNote implements the call of that name.
func (s *Service) DeleteNote(ctx context.Context, req *storev1.DeleteNoteRequest) (*storev1.DeleteNoteResponse, error) {
	if err := s.store.DeleteMountRecord(ctx, req.GetName()); err != nil {
		return nil, err
	}
	return &storev1.DeleteNoteResponse{}, nil
}
