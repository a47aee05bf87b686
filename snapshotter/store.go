package snapshotter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

const (
	headerName    = "layerkeep.json"
	formatVersion = 1
	maxHeader     = 64 << 10 // bytes
	rootMode      = 0o700
)

// header is the content of the file layerkeep.json. It has what a program must
// know before it reads anything else in the store.
type header struct {
	// Format is the version of the layout of the whole store.
	Format int `json:"format"`
	// Driver is the name of the driver that wrote the layers.
	Driver string `json:"driver"`
	// Shared: the root is the directory of another engine, whose layers the driver
	// reads. Then the store does not change its mode.
	Shared bool `json:"shared,omitempty"`
	// ID is the ID of the store, see [Snapshotter.identify]. It is empty in the
	// header of an earlier version.
	ID string `json:"id,omitempty"`
	// Generation is a generation that the database had. The present one is the same
	// or higher, unless an older copy was put back. See [meta.Tx.Generation].
	Generation uint64 `json:"generation,omitempty"`
	// Found is what the driver found out about the store's file system when it ran
	// on the kernel release Kernel, see [driver.Rememberer].
	Found  json.RawMessage `json:"found,omitempty"`
	Kernel string          `json:"kernel,omitempty"`
}

// readHeader returns fs.ErrNotExist for a root that is not a store yet.
func readHeader(root string) (header, error) {
	path := filepath.Join(root, headerName)
	raw, err := ownfiles.Read(path, maxHeader)
	if errors.Is(err, ownfiles.ErrTooLong) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return header{}, err
	}
	// Decode only the format first: a newer format may have other fields.
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

// prepareRoot makes the root when it is missing, and checks that it is a store
// or can become one. It returns the path, absolute and with symbolic links
// resolved, and whether the directory belongs to another engine. With
// Options.ReadOnly it changes nothing.
func prepareRoot(root string, opts Options) (_ string, shared bool, _ error) {
	root, err := makeRoot(root, opts.ReadOnly)
	if err != nil {
		return "", false, err
	}
	info, err := os.Stat(root)
	if err != nil {
		return "", false, err
	}
	if !info.IsDir() {
		return "", false, fmt.Errorf("%w: %s is not a directory", ErrNotStore, root)
	}
	if err := ownfiles.Check(root, ownEntries()...); err != nil {
		return "", false, err
	}
	if shared, err = checkContents(root, opts.Driver); err != nil {
		return "", false, err
	}
	if err := checkOwner(root, shared, opts.ReadOnly); err != nil {
		return "", false, err
	}
	if !shared && !opts.ReadOnly && info.Mode().Perm() != rootMode {
		// Layers contain setuid programs and secrets, so only the owner may enter. On a
		// read-only file system takeLock handles EROFS.
		if err := os.Chmod(root, rootMode); err != nil && !errors.Is(err, syscall.EROFS) {
			return "", false, err
		}
	}
	return root, shared, nil
}

// makeRoot makes the root when it is missing. With find it only finds it.
func makeRoot(root string, find bool) (string, error) {
	if root == "" {
		return "", fmt.Errorf("%w: the root is empty", ErrNotStore)
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	if find {
		real, err := filepath.EvalSymlinks(root)
		return real, notDirectory(err)
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return "", notDirectory(err)
	}
	if err := os.Mkdir(root, rootMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return filepath.EvalSymlinks(root)
}

func notDirectory(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %w", ErrNotStore, err)
	}
	return err
}

// checkContents returns an error for a directory that has files of something
// else. So a mistyped root does not become a store. It accepts a store, an
// empty directory, and what an interrupted first opening left.
//
// The directory of another engine is accepted only when driverName is the
// driver that reads its layers. With another driver it would become a store
// that does not show these layers.
func checkContents(root, driverName string) (shared bool, err error) {
	names, err := readNames(root)
	if err != nil {
		return false, err
	}
	if slices.Contains(names, headerName) {
		head, err := readHeader(root)
		return err == nil && head.Shared, nil // reading it again later returns the error
	}
	if foreign := all.Foreign(root); foreign != "" {
		if driverName != foreign {
			return false, fmt.Errorf("%w: it has no %s, but layers of another engine in %s: the driver %s reads them, when it is named",
				ErrForeign, headerName, filepath.Join(root, foreign), foreign)
		}
		return true, nil
	}
	if above := filepath.Dir(root); all.Foreign(above) == filepath.Base(root) {
		return false, fmt.Errorf("%w: it holds layers of another engine itself: the root to name is %s", ErrForeign, above)
	}
	ours := ownEntries()
	for _, name := range names {
		ownName := func(e ownfiles.Entry) bool { return e.Name == name }
		if name != "lost+found" && !slices.ContainsFunc(ours, ownName) && !strings.HasPrefix(name, durable.TempPrefix) && !strings.HasPrefix(name, metaName+damagedInfix) {
			return false, fmt.Errorf("%w: it is not empty and has no %s, but %q", ErrNotStore, headerName, name)
		}
	}
	return false, nil
}

// ownEntries returns the files and directories that a store has in its root.
func ownEntries() []ownfiles.Entry {
	entries := []ownfiles.Entry{
		{Name: headerName}, {Name: metaName}, {Name: metaName + meta.SumsSuffix}, {Name: lockName}, {Name: "content", Dir: true},
	}
	for _, path := range meta.ReservePaths(metaName) {
		entries = append(entries, ownfiles.Entry{Name: path})
	}
	for _, name := range all.Names() {
		entries = append(entries, ownfiles.Entry{Name: name, Dir: true})
	}
	return entries
}

// checkOwner returns an error for a root that belongs to another user. The mode
// of the root is 0700, so its owner is the only user who can change the store.
//
// checkOwner does not check the directory of another engine, which is as safe
// as that engine made it. It does not check a store that is opened for reading,
// or that is on a read-only file system: its content is as trustworthy as the
// user who made it.
func checkOwner(root string, shared, readOnly bool) error {
	if shared || readOnly || errors.Is(unix.Access(root, unix.W_OK), unix.EROFS) {
		return nil
	}
	return ownfiles.CheckOwner(root)
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
