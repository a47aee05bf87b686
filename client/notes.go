package client

import (
	"context"
	"encoding/json"
	"unicode/utf8"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
)

// A Note is what a client has noted of a mount that it has made.
type Note struct {
	Name string
	JSON json.RawMessage
}

// Notes returns all notes in the order of their names.
func (c *Client) Notes(ctx context.Context) ([]Note, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.store.Notes(ctx, &storev1.NotesRequest{})
	if err != nil {
		return nil, err
	}
	var notes []Note
	err = drain(stream.Recv, func(m *storev1.NotesResponse) error {
		for _, n := range m.GetNotes() {
			notes = append(notes, Note{n.GetName(), n.GetJson()})
		}
		return nil
	})
	return notes, err
}

// PutNote keeps a note in the place of that of the same name.
func (c *Client) PutNote(ctx context.Context, note Note) error {
	if err := newName(note.Name); err != nil {
		return err
	}
	_, err := c.store.PutNote(context.WithoutCancel(ctx), &storev1.PutNoteRequest{
		Note: &storev1.Note{Name: note.Name, Json: note.JSON},
	})
	return err
}

// DeleteNote forgets a note; one that is not there is no error.
func (c *Client) DeleteNote(ctx context.Context, name string) error {
	if !utf8.ValidString(name) {
		return nil // then it is not there
	}
	_, err := c.store.DeleteNote(context.WithoutCancel(ctx), &storev1.DeleteNoteRequest{Name: name})
	return err
}
