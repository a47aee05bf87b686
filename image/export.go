package image

import (
	"context"
	"io"
)

// Export writes an OCI archive.
func (s *Store) Export(ctx context.Context, name string, w io.Writer, opts ExportOptions) (Exported, error) {
	panic("to be written")
}
