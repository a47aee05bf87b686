package drivertest

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// closedOnExec looks at all descriptors of this process while a driver works:
// one that a program inherits which an engine starts in a container leads from
// there to the host.
func (s *suite) closedOnExec(t *testing.T) {
	inherited := inheritable(t)
	st := s.open(t)
	chain := st.layer("base", nil, Dir("d"), File("d/x", "x"))
	st.create("work", chain...)
	looked := 0
	look := func() {
		looked++
		for fd, path := range inheritable(t) {
			require.Equal(t, inherited[fd], path, "descriptor %d goes to other programs", fd)
		}
	}
	layer := Layer(t, Dir("d"), File("d/y", "y"), Symlink("s", "d"), File("s/z", "z"), Link("l", "d/x"), Whiteout("d/gone"))
	_, err := st.d.ApplyDiff(t.Context(), "work", lookingReader{bytes.NewReader(layer), look}, driver.ApplyOptions{})
	require.NoError(t, err)
	_, err = driver.Diff(t.Context(), st.d, "work", lookingWriter{look}, driver.DiffOptions{})
	require.NoError(t, err)
	view, err := st.d.View(t.Context(), "work")
	require.NoError(t, err)
	defer view.Close()
	root, err := view.Root()
	require.NoError(t, err)
	defer root.Close()
	dir, err := root.OpenDir("d")
	require.NoError(t, err)
	defer dir.Close()
	file, err := dir.Open("x")
	require.NoError(t, err)
	defer file.Close()
	look()
	require.Greater(t, looked, 2, "it was looked while a layer was read and written")
}

// inheritable are the descriptors that a program would inherit, with what they
// are.
func inheritable(t *testing.T) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	found := map[int]string{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		require.NoError(t, err)
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 { // it is closed by now, or will be
			continue
		}
		if path, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			found[fd] = path
		}
	}
	return found
}

type lookingReader struct {
	r    io.Reader
	look func()
}

func (r lookingReader) Read(p []byte) (int, error) {
	r.look()
	return r.r.Read(p)
}

type lookingWriter struct{ look func() }

func (w lookingWriter) Write(p []byte) (int, error) {
	w.look()
	return len(p), nil
}
