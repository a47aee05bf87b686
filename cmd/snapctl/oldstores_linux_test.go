package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Stores that earlier versions have written open unchanged. Each in
// testdata/stores was made by make.sh there, with a snapctl that was built from
// the commit that it is named after, and holds the same. says.txt is what those
// snapctls said of it, all of them the same: the digests of the diffs of all
// snapshots, and of the exports of both images. What the formats have:
//
//   - ca94b8b: the first stores, with a header of format and driver;
//   - 9703f55: the last ones whose rows have no checksums;
//   - df2832c: rows have checksums, the header what the driver found out, and
//     there is a reserve (which make.sh leaves out);
//   - d496239: stores have an ID, records of layers tell of their snapshots,
//     rows of committed ones have digests;
//   - 22f138e: there is a copy of the list of images beside the blobs;
//   - 92c7994: the pages of the database have checksums in meta.db.sums;
//   - 2820ca6: the last ones whose records of layers and manifests of vfs have
//     no checksums.
func TestStoresOfEarlierVersionsOpenUnchanged(t *testing.T) {
	archives, err := filepath.Glob("testdata/stores/*.tar.gz")
	require.NoError(t, err)
	require.Len(t, archives, 7)
	want := saidOf(t, "testdata/stores/says.txt")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000001") // as in make.sh; it is in the configs of exports
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.gz"), func(t *testing.T) {
			s := openOldStore(t, archive)
			before := fstest.Inventory(t, s.root)
			s.flags = []string{"--read-only"}
			requireHoldsWhatWasSaid(t, s, want)
			s.flags = nil
			s.must("check", "--read-data")
			require.Equal(t, "nothing to repair\n", s.must("repair", "--dry-run", "--read-data"))
			require.Equal(t, before, fstest.Inventory(t, s.root), "reading it changes nothing")

			require.Equal(t, "nothing to repair\n", s.must("repair", "--read-data"))
			s.requireGrows()
			requireHoldsWhatWasSaid(t, s, want)
			s.must("rm", "later", "active", "done")
			s.must("rmi", "fixture:1")
			s.must("gc")
			require.Empty(t, s.keys())
		})
	}
}

// requireGrows commits something on what an earlier version has committed, and
// has it checked.
func (s *readStore) requireGrows() {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(s.in("layer.tar"), fstest.Layer(s.t, fstest.File("later", "later"), fstest.Whiteout("srv")), 0o600))
	s.must("prepare", "work", "done")
	s.must("apply", "work", s.in("layer.tar"))
	s.must("commit", "later", "work")
	require.Contains(s.t, s.must("changes", "later"), "later")
	s.must("check", "--read-data")
}

// saidOf reads lines of a name and a digest.
func saidOf(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	said := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, digest, ok := strings.Cut(lines.Text(), " ")
		require.True(t, ok, lines.Text())
		said[name] = digest
	}
	require.NoError(t, lines.Err())
	require.NotEmpty(t, said)
	return said
}

// requireHoldsWhatWasSaid compares all snapshots and exports with what an
// earlier version said of them.
func requireHoldsWhatWasSaid(t *testing.T, s *readStore, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, key := range s.keys() {
		s.must("info", key)
		got[key] = digestOf([]byte(s.must("diff", key)))
		require.NotEmpty(t, s.must("changes", key), key)
	}
	for name, source := range map[string]string{"fixture:1": "fixture:1", "done:1": "done"} {
		got[name] = digestOf([]byte(s.must("export", source, "-")))
	}
	delete(got, "later") // made since
	require.Equal(t, want, got)
}

// keys are the names of all snapshots.
func (s *readStore) keys() (keys []string) {
	s.t.Helper()
	var listed struct{ Snapshots []struct{ Key string } }
	require.NoError(s.t, json.Unmarshal([]byte(s.must("ls", "--json")), &listed))
	for _, row := range listed.Snapshots {
		keys = append(keys, row.Key)
	}
	return keys
}

// openOldStore unpacks a store of vfs, or skips where that does not work.
func openOldStore(t *testing.T, archive string) *readStore {
	t.Helper()
	dir := t.TempDir()
	if err := alltest.Works(t, dir, "vfs"); err != nil {
		t.Skipf("backend vfs does not work there: %v", err)
	}
	s := &readStore{t: t, root: filepath.Join(dir, "store"), out: t.TempDir()}
	f, err := os.Open(archive)
	require.NoError(t, err)
	defer f.Close()
	packed, err := gzip.NewReader(f)
	require.NoError(t, err)
	require.NoError(t, unpackStore(packed, s.root))
	return s
}

// unpackStore unpacks directories, files, and links, with modes and times.
func unpackStore(r io.Reader, root string) error {
	var all []*tar.Header
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = unpackEntry(in, h, root)
		}
		if err != nil {
			return err
		}
		all = append(all, h)
	}
	for _, h := range slices.Backward(all) { // what is in a directory first
		at := unix.NsecToTimespec(h.ModTime.UnixNano())
		err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root, h.Name), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			return &os.PathError{Op: "set the time of", Path: h.Name, Err: err}
		}
	}
	return nil
}

func unpackEntry(in io.Reader, h *tar.Header, root string) error {
	path := filepath.Join(root, h.Name)
	switch h.Typeflag {
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, path)
	case tar.TypeLink:
		return os.Link(filepath.Join(root, h.Linkname), path)
	case tar.TypeDir:
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
	default:
		body, err := io.ReadAll(in)
		if err == nil {
			err = os.WriteFile(path, body, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return os.Chmod(path, h.FileInfo().Mode())
}
