package storeservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// NoteKind is the kind of the records that hold notes.
const NoteKind = "mounts"

// maxNote bounds one note, in bytes.
const maxNote = 64 << 10

// Notes implements the call of that name.
func (s *Service) Notes(_ *storev1.NotesRequest, stream storev1.Store_NotesServer) error {
	var all []*storev1.Note
	err := s.snaps.DB().View(func(tx *meta.Tx) error {
		return tx.WalkRecords(NoteKind, func(name string, raw json.RawMessage) error {
			all = append(all, &storev1.Note{Name: name, Json: append([]byte{}, raw...)})
			return stream.Context().Err()
		})
	})
	if err != nil {
		return err
	}
	return portions(all, func(some []*storev1.Note) error { return stream.Send(&storev1.NotesResponse{Notes: some}) })
}

// PutNote implements the call of that name.
func (s *Service) PutNote(_ context.Context, req *storev1.PutNoteRequest) (*storev1.PutNoteResponse, error) {
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
	err = s.snaps.DB().Update(func(tx *meta.Tx) error {
		return tx.PutRecord(NoteKind, note.GetName(), json.RawMessage(note.GetJson()))
	})
	if errors.Is(err, meta.ErrInvalidName) {
		err = fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	if err != nil {
		return nil, err
	}
	return &storev1.PutNoteResponse{}, nil
}

// DeleteNote implements the call of that name.
func (s *Service) DeleteNote(_ context.Context, req *storev1.DeleteNoteRequest) (*storev1.DeleteNoteResponse, error) {
	err := s.snaps.DB().Free(func(tx *meta.Tx) error { return tx.DeleteRecord(NoteKind, req.GetName()) })
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return nil, err
	}
	return &storev1.DeleteNoteResponse{}, nil
}
