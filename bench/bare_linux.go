package bench

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// extract unpacks a layer of package synth, as a plain program would that knows
// no layers. It trusts the layer's names no more than os.Root does.
func extract(ctx context.Context, dir *os.File, layer io.Reader) error {
	root, err := os.OpenRoot(dir.Name())
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(layer); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = entry(root, h, r)
		}
		if err != nil {
			return err
		}
	}
}

func entry(root *os.Root, h *tar.Header, body io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		err := root.MkdirAll(filepath.Clean(h.Name), 0o755)
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, h.Name)
	case tar.TypeLink:
		return root.Link(h.Linkname, h.Name)
	case tar.TypeReg:
		f, err := root.OpenFile(h.Name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, body)
		return errors.Join(err, f.Close(), root.Chtimes(h.Name, h.ModTime, h.ModTime))
	default:
		return fmt.Errorf("%w: entry of type %c", driver.ErrUnsupported, h.Typeflag)
	}
}

func usageOf(ctx context.Context, path string) (driver.Usage, error) {
	return layerdir.Usage(ctx, path)
}
