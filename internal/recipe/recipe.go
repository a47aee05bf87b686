// Package recipe writes the very tar again that a layer was unpacked from.
// Beside the files of the layer that takes the headers and the padding, byte
// for byte, and the order of the entries: the recipe. It is tar-split's
// description of a tar, one JSON object in a line for each piece, which
// containers/storage and Docker keep for the same purpose.
package recipe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"

	"github.com/layerkeep/layerkeep/diff"
)

// ErrDiffers: the tree is not what the tar was unpacked to, or the recipe is
// damaged.
var ErrDiffers = errors.New("the layer is not what its recipe describes")

// maxPiece is how many bytes the headers of one entry may have, each of which
// the format bounds to a megabyte; maxLine is that in base64, with a name.
const (
	maxPiece = 5 << 20
	maxLine  = 8 << 20
)

// ErrTooLong: the headers of one entry have more bytes than a recipe takes.
var ErrTooLong = fmt.Errorf("the headers of an entry have more than %d bytes", maxPiece)

// Write reads a tar to its end and writes its recipe to w, a fraction of the
// bytes that the headers have once it is compressed. Returns ErrTooLong for a
// tar that cannot be described.
func Write(w io.Writer, tar io.Reader) error {
	out := bufio.NewWriter(w)
	lines := json.NewEncoder(out)
	in, err := asm.NewInputTarStream(tar, packer{lines}, storage.NewDiscardFilePutter())
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	return out.Flush()
}

// packer is a [storage.Packer]. tar-split's own remembers each name, to refuse
// one that comes twice; here the digest of what comes of the recipe tells.
type packer struct{ lines *json.Encoder }

// AddEntry implements [storage.Packer].
func (p packer) AddEntry(e storage.Entry) (int, error) {
	if len(e.Payload) > maxPiece {
		return 0, ErrTooLong
	}
	return 0, p.lines.Encode(e)
}

// Tar writes to w the tar that a recipe describes, with the bodies of the files
// that view shows. Returns ErrDiffers when a file is missing or has another
// checksum. That the tar is the one that was meant only its digest tells.
func Tar(ctx context.Context, w io.Writer, recipe io.Reader, view diff.View) error {
	bodies := &files{view: view}
	pieces := &unpacker{ctx: ctx, lines: bufio.NewReaderSize(recipe, 64<<10)}
	out := &sink{w: w}
	err := asm.WriteOutputTarStream(bodies, pieces, out)
	switch {
	case err == nil:
	case out.failed != nil:
		err = out.failed
	case bodies.failed != nil:
		err = bodies.failed
	case pieces.inBody: // tar-split has no error of its own for a wrong checksum
		err = fmt.Errorf("%w: %w", ErrDiffers, err)
	}
	return errors.Join(err, bodies.Close())
}

// A sink remembers the error of its writer.
type sink struct {
	w      io.Writer
	failed error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		s.failed = err
	}
	return n, err
}

// unpacker is a [storage.Unpacker].
type unpacker struct {
	ctx   context.Context //nolint:containedctx // one call of Tar
	lines *bufio.Reader
	// inBody: the piece that was read last is a file.
	inBody bool
}

// Next implements [storage.Unpacker].
func (u *unpacker) Next() (*storage.Entry, error) {
	u.inBody = false
	if err := u.ctx.Err(); err != nil {
		return nil, err
	}
	line, err := u.line()
	if err != nil {
		return nil, err
	}
	var e storage.Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDiffers, err)
	}
	u.inBody = e.Type == storage.FileType
	return &e, nil
}

// line reads a line of no more than maxLine.
func (u *unpacker) line() ([]byte, error) {
	var line []byte
	for {
		part, err := u.lines.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, fmt.Errorf("%w: a piece of more than %d bytes", ErrDiffers, maxLine)
		}
		if err == nil && line == nil {
			return part, nil
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) > 0:
			return nil, fmt.Errorf("%w: it ends in the middle: %w", ErrDiffers, io.ErrUnexpectedEOF)
		default:
			return nil, err
		}
	}
}
