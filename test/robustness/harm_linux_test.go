package robustness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// A harm is a way in which something of a store gets damaged while nobody has
// it open. What a layer is must be found again by the commands of mend.
type harm struct {
	name string
	do   func(s store, h hurt) error
	mend [][]string
}

// hurt is what is damaged: a layer's directory, or a blob.
type hurt struct {
	layer, blob string
	random      *rand.Rand
}

var (
	readAndRepair = []string{"repair", "--read-data"}
	onlyRepair    = []string{"repair"}
	importAgain   = []string{"import"} // of the images that are there
)

// harmsOfLayers are those that a layer which has a blob is made whole again
// after.
var harmsOfLayers = []harm{
	{"remove a file of a layer", removeFile, [][]string{readAndRepair}},
	{"change a file of a layer", changeFile, [][]string{readAndRepair}},
	{"remove a layer", removeLayer, [][]string{onlyRepair, importAgain}},
	{"spoil the record of a layer", spoilRecord, [][]string{onlyRepair, importAgain}},
	{"put another name in a record", renameInRecord, [][]string{onlyRepair}},
	{"remove a record", removeRecord, [][]string{readAndRepair, importAgain}},
}

var harmsOfBlobs = []harm{
	{"remove a blob", func(_ store, h hurt) error { return os.Remove(h.blob) }, [][]string{importAgain}},
	{"cut a blob short", func(_ store, h hurt) error { return os.Truncate(h.blob, 100) }, [][]string{importAgain}},
}

// harmsOfStores are those after which the store cannot be opened.
var harmsOfStores = []harm{
	{"empty the database", func(s store, _ hurt) error { return os.Truncate(filepath.Join(s.root, "meta.db"), 0) }, [][]string{rebuild}},
	{"remove the database", func(s store, _ hurt) error { return os.Remove(filepath.Join(s.root, "meta.db")) }, [][]string{rebuild}},
	{"zero the database", zeroDatabase, [][]string{rebuild}},
	{"remove the database and the header", func(s store, _ hurt) error {
		return errors.Join(os.Remove(filepath.Join(s.root, "meta.db")), os.Remove(filepath.Join(s.root, "layerkeep.json")))
	}, [][]string{rebuild}},
}

var rebuild = []string{"repair", "--rebuild"}

// layers is the directory that has the layers of a store.
func (s store) layers() string { return filepath.Join(s.root, s.driver) }

// layerOf returns the directory of a snapshot's layer, by the name in its
// record.
func (s store) layerOf(key string) (string, error) {
	records, err := filepath.Glob(filepath.Join(s.layers(), "*", "layer.json"))
	if err != nil {
		return "", err
	}
	for _, path := range records {
		var record struct{ Note struct{ Name string } }
		raw, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(raw, &record)
		}
		if err != nil {
			return "", err
		}
		if record.Note.Name == key {
			return filepath.Dir(path), nil
		}
	}
	return "", fmt.Errorf("no layer in %s says that it is snapshot %q", s.layers(), key)
}

// thaw makes the subvolume of a sealed layer writable.
func (h hurt) thaw() error {
	vol, err := os.Open(filepath.Join(h.layer, "vol"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(subvol.SetReadOnly(vol, false), vol.Close())
}

// file chooses a file of a layer that has a body.
func (h hurt) file() (string, error) {
	if err := h.thaw(); err != nil {
		return "", err
	}
	var all []string
	err := filepath.WalkDir(h.layer, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Dir(path) == h.layer {
			return err // what lies beside the tree is ours
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			all = append(all, path)
		}
		return err
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("layer %s has no file", h.layer)
	}
	if err != nil {
		return "", err
	}
	return all[h.random.IntN(len(all))], nil
}

func removeFile(_ store, h hurt) error {
	path, err := h.file()
	if err != nil {
		return err
	}
	return os.Remove(path)
}

// changeFile changes a byte, and no time, as a disk does.
func changeFile(_ store, h hurt) error {
	path, err := h.file()
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [1]byte
	at := h.random.Int64N(info.Size())
	_, err = f.ReadAt(b[:], at)
	if err == nil {
		b[0] ^= 1
		_, err = f.WriteAt(b[:], at)
	}
	return errors.Join(err, f.Close(), os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func removeLayer(_ store, h hurt) error { return fstest.RemoveAll(h.layer) }

func (h hurt) record() string { return filepath.Join(h.layer, "layer.json") }

func removeRecord(_ store, h hurt) error { return os.Remove(h.record()) }

func spoilRecord(_ store, h hurt) error { return os.WriteFile(h.record(), []byte("{"), 0o600) }

func renameInRecord(_ store, h hurt) error {
	raw, err := os.ReadFile(h.record())
	if err != nil {
		return err
	}
	const name = `"name":"`
	if !bytes.Contains(raw, []byte(name)) {
		return fmt.Errorf("%s names no snapshot", h.record())
	}
	return os.WriteFile(h.record(), bytes.Replace(raw, []byte(name), []byte(name+"not-"), 1), 0o600)
}

// zeroDatabase leaves a database of zeros, as a file system does that has lost
// its data.
func zeroDatabase(s store, _ hurt) error {
	path := filepath.Join(s.root, "meta.db")
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return errors.Join(os.Truncate(path, 0), os.Truncate(path, info.Size()))
}

// syncAll puts a file system on disk.
func syncAll(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close())
}

// besides are names in the directory of layers that are no layers, but for
// those that are always there.
func (s store) besides() (names []string, layers int, err error) {
	entries, err := os.ReadDir(s.layers())
	for _, e := range entries {
		switch {
		case e.Name() == ".empty":
		case strings.HasPrefix(e.Name(), "."):
			names = append(names, e.Name())
		default:
			layers++
		}
	}
	return names, layers, err
}
