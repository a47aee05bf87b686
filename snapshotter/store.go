package snapshotter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/durable"
)

const (
	headerName    = "layerkeep.json"
	formatVersion = 1
	maxHeader     = 64 << 10 // bytes
	rootMode      = 0o700
)

// header is the store's own file: what must be known before anything else in
// the store may be read.
type header struct {
	// Format is the version of the layout of the whole store.
	Format int `json:"format"`
	// Driver is the name of the driver that wrote the layers.
	Driver string `json:"driver"`
}

// readHeader returns fs.ErrNotExist for a root that is no store yet.
func readHeader(root string) (header, error) {
	path := filepath.Join(root, headerName)
	f, err := os.Open(path)
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxHeader))
	if err != nil {
		return header{}, err
	}
	// The format alone first: a newer one may have other fields.
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(raw, &version); err != nil {
		return header{}, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if version.Format > formatVersion {
		return header{}, fmt.Errorf("%w: its format is %d, this program knows %d: use a newer one",
			ErrNewerStore, version.Format, formatVersion)
	}
	var head header
	if err := json.Unmarshal(raw, &head); err != nil {
		return header{}, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if head.Format != formatVersion || head.Driver == "" {
		return header{}, fmt.Errorf("%w: %s names no format or no driver", ErrDamaged, path)
	}
	return head, nil
}

func writeHeader(root string, head header) error {
	raw, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(durable.OS(), filepath.Join(root, headerName), append(raw, '\n'), 0o600)
}

// prepareRoot makes the root when it is missing, checks that it is a store or
// can become one, and returns its path, absolute and without symbolic links.
func prepareRoot(root string) (string, error) {
	if root == "" {
		return "", fmt.Errorf("%w: the root is empty", ErrNotStore)
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return "", notDirectory(err)
	}
	if err := os.Mkdir(root, rootMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return "", err
	}
	info, err := os.Stat(root)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%w: %s is not a directory", ErrNotStore, root)
	}
	if err := checkContents(root); err != nil {
		return "", err
	}
	if info.Mode().Perm() != rootMode {
		// Layers hold setuid programs and secrets; only we may enter.
		if err := os.Chmod(root, rootMode); err != nil {
			return "", err
		}
	}
	return root, nil
}

func notDirectory(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %w", ErrNotStore, err)
	}
	return err
}

// checkContents refuses a directory that holds other things than a store, or
// the beginnings of one: a mistyped root must not be taken over.
func checkContents(root string) error {
	names, err := readNames(root)
	if err != nil {
		return err
	}
	if slices.Contains(names, headerName) {
		return nil
	}
	ours := append([]string{lockName, metaName, "content", "lost+found"}, all.Names()...)
	for _, name := range names {
		if !slices.Contains(ours, name) && !strings.HasPrefix(name, durable.TempPrefix) {
			return fmt.Errorf("%w: it is not empty and has no %s, but %q", ErrNotStore, headerName, name)
		}
	}
	return nil
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
