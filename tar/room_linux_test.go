package tar

import (
	stdtar "archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A layer that does not fit gives an error before the disk is full, also if its
// files are small.
func TestALayerThatDoesNotFitLeavesSpaceFree(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 200 MB")
	}
	const mib = 1 << 20
	dir := fstest.ScratchSize(t, fstest.Ext4, 8<<10)
	free := func() int64 {
		var st unix.Statfs_t
		require.NoError(t, unix.Statfs(dir, &st))
		return int64(st.Bavail) * st.Frsize
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	require.NoError(t, err)
	defer filler.Close()
	for size := int64(0); free() > 220*mib; { // the file system needs some space for its own lists
		n := free() - 200*mib
		require.NoError(t, unix.Fallocate(int(filler.Fd()), 0, size, n))
		size += n
	}
	body := bytes.Repeat([]byte{1}, 2*mib)
	for name, write := range map[string]func(tw *stdtar.Writer) error{
		"a large file": func(tw *stdtar.Writer) error {
			err := tw.WriteHeader(&stdtar.Header{Name: "f", Typeflag: stdtar.TypeReg, Mode: 0o644, Size: int64(200 * len(body))})
			for i := 0; i < 200 && err == nil; i++ {
				_, err = tw.Write(body)
			}
			return err
		},
		"small files": func(tw *stdtar.Writer) (err error) {
			for i := 0; i < 60_000 && err == nil; i++ {
				err = tw.WriteHeader(&stdtar.Header{Name: fmt.Sprintf("d%d/%d", i%100, i), Typeflag: stdtar.TypeReg, Mode: 0o644, Size: 1})
				if err == nil {
					_, err = tw.Write(body[:1])
				}
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := free()
			r, w := io.Pipe()
			go func() {
				tw := stdtar.NewWriter(w)
				err := write(tw)
				if err == nil {
					err = tw.Close()
				}
				w.CloseWithError(err)
			}()
			at := staging(t, dir)
			_, _, err := Unpack(t.Context(), at, r, UnpackOptions{})
			require.NoError(t, r.Close())
			require.ErrorIs(t, err, unix.ENOSPC)
			require.ErrorContains(t, err, "stay free for others")
			require.Greater(t, free(), int64(roomKept-roomEvery))
			require.Less(t, free(), before-50*mib, "it was not refused too early")
			require.NoError(t, fstest.RemoveAll(at.Name()))
		})
	}
}
