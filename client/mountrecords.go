package client

import (
	"context"
	"unicode/utf8"

	"github.com/layerkeep/layerkeep"
	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
)

// MountRecords implements [layerkeep.Store].
func (c *Client) MountRecords(ctx context.Context) ([]layerkeep.MountRecord, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.store.Notes(ctx, &storev1.NotesRequest{})
	if err != nil {
		return nil, err
	}
	var all []layerkeep.MountRecord
	err = drain(stream.Recv, func(m *storev1.NotesResponse) error {
		for _, n := range m.GetNotes() {
			all = append(all, layerkeep.MountRecord{Name: n.GetName(), JSON: n.GetJson()})
		}
		return nil
	})
	return all, err
}

// PutMountRecord implements [layerkeep.Store].
func (c *Client) PutMountRecord(ctx context.Context, record layerkeep.MountRecord) error {
	if err := newName(record.Name); err != nil {
		return err
	}
	_, err := c.store.PutNote(context.WithoutCancel(ctx), &storev1.PutNoteRequest{
		Note: &storev1.Note{Name: record.Name, Json: record.JSON},
	})
	return err
}

// DeleteMountRecord implements [layerkeep.Store].
func (c *Client) DeleteMountRecord(ctx context.Context, name string) error {
	if !utf8.ValidString(name) {
		return nil // then it is not there
	}
	_, err := c.store.DeleteNote(context.WithoutCancel(ctx), &storev1.DeleteNoteRequest{Name: name})
	return err
}
