package tar

import (
	stdtar "archive/tar"
	"bytes"
	"compress/bzip2"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// TestGoTestdataIsReadAsTheStandardLibraryReadsIt reads the good and bad
// archives with which Go tests its own reader.
func TestGoTestdataIsReadAsTheStandardLibraryReadsIt(t *testing.T) {
	requireRoot(t)
	testdata := filepath.Join(runtime.GOROOT(), "src/archive/tar/testdata")
	if _, err := os.Stat(testdata); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("this machine has no Go with its sources: %v", err)
	}
	files, err := filepath.Glob(testdata + "/*.tar*")
	require.NoError(t, err)
	require.NotEmpty(t, files, "testdata of archive/tar in GOROOT")
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			content := readTestdata(t, file)
			const limit = 64 << 20
			want, wantErr := readStd(content, limit)
			b := newPlainBed(t, t.TempDir())
			applied, err := b.apply(t, content, UnpackOptions{Limits: Limits{Bytes: limit}, Warn: func(p, m string) { t.Log(p, m) }})
			switch {
			case wantErr != nil:
				require.ErrorIs(t, err, diff.ErrInvalidLayer)
			default:
				require.NoError(t, err)
				require.EqualValues(t, len(content), applied.Bytes)
				got := b.tree(t)
				for p, w := range want {
					w.Link = got[p].Link // the standard library makes no links
					require.Equal(t, w.String(), got[p].String(), p)
				}
			}
		})
	}
}

// readTestdata decodes the form in which the file is stored there.
func readTestdata(t *testing.T, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(file) {
	case ".bz2":
		r = bzip2.NewReader(f)
	case ".base64":
		r = base64.NewDecoder(base64.StdEncoding, f)
	}
	content, err := io.ReadAll(r)
	require.NoError(t, err)
	return content
}

// readStd reads an archive with the standard library. For each name it returns
// the file that the last entry describes.
func readStd(content []byte, limit int64) (map[string]fstest.Node, error) {
	tree := map[string]fstest.Node{}
	r := stdtar.NewReader(bytes.NewReader(content))
	for {
		hdr, err := r.Next()
		if err == io.EOF {
			return tree, nil
		}
		if err != nil {
			return nil, err
		}
		if hdr.Size > limit {
			return nil, errors.New("too large to read")
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		n := fstest.Node{Mode: uint32(hdr.Mode) & diff.PermMask, UID: uint32(hdr.Uid), GID: uint32(hdr.Gid), Mtime: hdr.ModTime}
		switch hdr.Typeflag {
		case stdtar.TypeReg, stdtar.TypeGNUSparse, stdtar.TypeCont:
			n.Mode |= diff.TypeRegular
			n.Size, n.Body = int64(len(body)), fstest.Body(string(body))
		case stdtar.TypeDir:
			n.Mode |= diff.TypeDir
		case stdtar.TypeSymlink:
			n.Mode, n.Target = diff.TypeSymlink|0o777, hdr.Linkname
		default:
			continue
		}
		for key, value := range hdr.PAXRecords {
			if x, ok := strings.CutPrefix(key, schilyXattr); ok && x != "security.selinux" {
				if n.Xattrs == nil {
					n.Xattrs = map[string]string{}
				}
				n.Xattrs[x] = value
			}
		}
		tree[strings.Trim(hdr.Name, "/")] = n
	}
}
