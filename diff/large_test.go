package diff_test

import (
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
)

// fifos is a view without a disk: a root with directories of fifos. Some of the
// fifos are missing or newer.
type fifos struct {
	dirs, files      int
	missing, younger func(file int) bool
}

type fifoDir struct {
	fifos
	root bool
}

func none(int) bool { return false }

func (v fifos) Root() (diff.Dir, error) { return fifoDir{v, true}, nil }
func (v fifos) Close() error            { return nil }

func (d fifoDir) Close() error                                   { return nil }
func (d fifoDir) Stat() (diff.Node, error)                       { return diff.Node{Mode: diff.TypeDir | 0o755}, nil }
func (d fifoDir) Xattrs() (map[string]string, error)             { return nil, nil }
func (d fifoDir) LookupXattrs(string) (map[string]string, error) { return nil, nil }
func (d fifoDir) Readlink(string) (string, error)                { return "", fs.ErrInvalid }
func (d fifoDir) Open(string) (io.ReadCloser, error)             { return nil, fs.ErrInvalid }
func (d fifoDir) OpenDir(string) (diff.Dir, error)               { return fifoDir{d.fifos, false}, nil }

func (d fifoDir) Names() ([]string, error) {
	n := d.files
	if d.root {
		n = d.dirs
	}
	names := make([]string, 0, n)
	for i := range n {
		if d.root || !d.missing(i) {
			names = append(names, fmt.Sprintf("%08d", i))
		}
	}
	return names, nil
}

func (d fifoDir) Lookup(name string) (diff.Node, error) {
	if d.root {
		return d.Stat()
	}
	var i int
	if _, err := fmt.Sscanf(name, "%d", &i); err != nil {
		return diff.Node{}, err
	}
	n := diff.Node{Mode: diff.TypeFifo | 0o600, Nlink: 1}
	if d.younger(i) {
		n.Mtime = time.Unix(1, 0)
	}
	return n, nil
}

// More names than the number for which attributes are kept between the two
// passes.
func TestALargeDirectory(t *testing.T) {
	const files = 50_000
	old := fifos{1, files, none, none}
	new := fifos{1, files, func(i int) bool { return i == 20_000 }, func(i int) bool { return i == 5 }}
	changes, err := difftest.Collect(diff.Compare(t.Context(), old, new, diff.Options{}))
	require.NoError(t, err)
	require.Equal(t, []string{"D /00000000/00020000", "M /00000000/00000005"}, difftest.Paths(changes))
}

func TestMemoryDoesNotGrowWithTheNumberOfChanges(t *testing.T) {
	const dirs, files = 200, 1000
	new := fifos{dirs, files, none, none}
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for _, err := range diff.Compare(t.Context(), nil, new, diff.Options{}) {
		require.NoError(t, err)
		n++
		if n == dirs*files {
			runtime.GC()
			runtime.ReadMemStats(&during)
		}
	}
	require.Equal(t, 1+dirs+dirs*files, n, "the root, whose time is not 0, directories and files")
	require.Less(t, int64(during.HeapAlloc)-int64(before.HeapAlloc), int64(4<<20))
}
