package layerdir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

func TestNothingChangesInAStoreThatIsOpenedForReading(t *testing.T) {
	writable, other := faultStore(t, true)
	s, err := OpenReadOnly(writable.root)
	require.NoError(t, err)
	defer s.Close()
	before := state(t, s, other)
	nothing := func() error { return nil }
	_, err = s.Writable("open")
	_, _, _, unpacking := s.Unpacking("open")
	_, _, staging := s.Staging("new")
	for name, err := range map[string]error{
		"create":    s.Create("new", Meta{}, func(string) error { return nil }),
		"remove":    s.Remove("open"),
		"idle":      s.RemoveIdle("open"),
		"save":      s.Save("open", Meta{}),
		"become":    s.Become("open", s.Path("none")),
		"clean up":  s.Cleanup(t.Context()),
		"merge":     s.Merging("open", true, nothing),
		"seal":      s.Seal(t.Context(), "open", "tree", func(*Meta) error { return nil }),
		"note":      s.Note("sealed", []byte(`"x"`)),
		"volatile":  s.MarkVolatile("open"),
		"note now":  s.NoteNow("open", []byte(`"x"`)),
		"writable":  err,
		"unpacking": unpacking,
		"staging":   staging,
	} {
		require.ErrorIs(t, err, driver.ErrReadOnly, name)
	}
	require.Equal(t, before, state(t, s, other))
}

func TestWhatIsTriedInMemoryIsTriedAtTheNearestDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a tmpfs")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	boom := errors.New("boom")
	for _, root := range []string{dir, file, filepath.Join(dir, "none", "none")} {
		called := false
		require.NoError(t, InMemory(root, driver.Options{}, func(_ mount.Mounter, memory string) error {
			called = true
			return os.WriteFile(filepath.Join(memory, "f"), nil, 0o600)
		}), root)
		require.True(t, called)
		require.ErrorIs(t, InMemory(root, driver.Options{}, func(mount.Mounter, string) error { return boom }), boom)
	}
	require.Equal(t, []string{"file:"}, fstest.FromPath(t, dir).Brief())
}

func TestAProbeInMemoryEndsWithItsContext(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("mounting is not permitted here")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := OverlayInMemory(ctx, t.TempDir(), driver.Options{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestAFileIsNoStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, root := range []string{file, filepath.Join(file, "store")} {
		_, err := Open(root)
		require.ErrorIs(t, err, unix.ENOTDIR)
	}
	_, err := OpenReadOnly(filepath.Join(file, "store"))
	require.ErrorIs(t, err, unix.ENOTDIR)
}

func TestADriverOpensItsStoreAsItIsTold(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	s, err := OpenFor(root, driver.Options{ReadOnly: true})
	require.NoError(t, err)
	require.ErrorIs(t, s.Changeable(), driver.ErrReadOnly)
	require.NoError(t, s.Close())
	require.NoDirExists(t, root)
	s, err = OpenFor(root, driver.Options{})
	require.NoError(t, err)
	require.NoError(t, s.Changeable())
	require.NoError(t, s.Close())
	require.DirExists(t, root)
}

// Root of a user namespace may not set attributes in "trusted.", and may not
// make device nodes.
func TestWhoIsRootOfAUserNamespaceAloneIsToldByRefusals(t *testing.T) {
	require.Equal(t, UserOverlay(t.TempDir()), UserOverlayInMemory())
	calls, dir := fstest.NewCalls(t), t.TempDir()
	is := func(call string, errno unix.Errno, probe func() bool) (answer bool) {
		for n, failed := 1, ""; failed != call; n++ {
			_, failed = calls.Fail(t, n, errno, func() { answer = probe() })
			require.NotEmpty(t, failed, "no call of %s", call)
		}
		return answer
	}
	device := func() bool {
		in, err := UserNS(dir)
		require.NoError(t, err)
		return in
	}
	require.True(t, is("setxattr", unix.EPERM, func() bool { return UserOverlay(dir) }))
	require.False(t, is("setxattr", unix.EOPNOTSUPP, func() bool { return UserOverlay(dir) }))
	require.True(t, is("fsetxattr", unix.EPERM, UserOverlayInMemory))
	require.False(t, is("fsetxattr", unix.EOPNOTSUPP, UserOverlayInMemory))
	require.True(t, is("mknodat", unix.EPERM, device))
	require.False(t, is("mknodat", unix.EOPNOTSUPP, device))
}

func TestWhatIsKnownIsRemembered(t *testing.T) {
	require.Nil(t, Found(false, 1))
	require.JSONEq(t, `{"a":true}`, string(Found(true, map[string]bool{"a": true})))
	require.Nil(t, Found(true, func() {}), "what JSON has no form for")
}

func TestALayerInATooLongPathIsKnownByADigest(t *testing.T) {
	short, long := "/"+strings.Repeat("a", 254), "/"+strings.Repeat("a", 255)
	require.Equal(t, short, Label(short))
	require.Regexp(t, "^layerkeep:[0-9a-f]{64}$", Label(long))
	require.NotEqual(t, Label(long), Label(long+"a"))
}
