package aufs

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// openTest opens a store in dir. Tests of names need no right to change owners.
func openTest(t *testing.T, dir string) *store {
	t.Helper()
	s, err := openStore(dir, driver.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// places lists all files of a store.
func places(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		list = append(list, strings.TrimPrefix(path, dir))
		return err
	}))
	return list
}

// empty is the result of places for a store without layers.
var empty = []string{"", "/.layerkeep", "/.layerkeep/layers", "/.layerkeep/mounts", "/diff", "/layers", "/mnt"}

// foreignLayer makes a layer as an old engine did.
func foreignLayer(t *testing.T, dir string, id driver.ID, parents ...driver.ID) {
	t.Helper()
	for _, name := range []string{layersDir, diffDir, mntDir} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, diffDir, string(id)), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, mntDir, string(id)), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, layersDir, string(id)), parentsText(parents), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, diffDir, string(id), "of-"+string(id)), nil, 0o644))
}

// scene is one call that makes or removes names: its preparation, and the call.
type scene struct {
	name    string
	prepare func(t *testing.T, dir string)
	call    func(s *store) error
}

func makeLayer(s *store, id driver.ID, m layerdir.Meta) error {
	return s.CreateWith(id, &m, func(branch string) error { return os.WriteFile(branch+"/file", nil, 0o600) })
}

func scenes() []scene {
	sealed := layerdir.Meta{Sealed: true, Note: json.RawMessage(`"new"`)}
	ours := func(t *testing.T, dir string) {
		require.NoError(t, makeLayer(openTest(t, dir), "layer", layerdir.Meta{Sealed: true}))
	}
	remove := func(s *store) error { return s.RemoveIdle("layer") }
	with := func(prepare func(t *testing.T, dir string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			prepare(t, dir)
			require.NoError(t, makeLayer(openTest(t, dir), "made", sealed))
		}
	}
	replace := func(s *store) error { return s.replace("layer", "made", sealed) }
	return []scene{
		{"create", func(*testing.T, string) {}, func(s *store) error { return makeLayer(s, "layer", layerdir.Meta{}) }},
		{"create a view", func(*testing.T, string) {}, func(s *store) error {
			return makeLayer(s, "layer", layerdir.Meta{View: true, Parents: []driver.ID{"p"}})
		}},
		{"remove", ours, remove},
		{"remove a foreign layer", func(t *testing.T, dir string) { foreignLayer(t, dir, "layer") }, remove},
		{"replace", with(ours), replace},
		{"replace a missing layer", with(func(*testing.T, string) {}), replace},
		{"replace one whose record is damaged", with(func(t *testing.T, dir string) {
			ours(t, dir)
			s := openTest(t, dir)
			require.NoError(t, os.WriteFile(s.records.Path("layer", layerdir.RecordName), []byte("{"), 0o600))
		}), replace},
	}
}

// stepsOf runs a scene and returns its steps.
func stepsOf(t *testing.T, c scene) []string {
	dir := t.TempDir()
	c.prepare(t, dir)
	s := openTest(t, dir)
	var names []string
	s.step = func(name string) error { names = append(names, name); return nil }
	require.NoError(t, c.call(s))
	require.NotEmpty(t, names)
	return names
}

// requireWholeOrAbsent checks that the layer is complete or removed without
// leftovers, and that no layer is taken for a foreign one by mistake.
func requireWholeOrAbsent(t *testing.T, s *store, wasForeign bool) {
	t.Helper()
	if m, err := s.records.Load("layer"); err != nil && !errors.Is(err, driver.ErrNotFound) {
		require.Equal(t, layerdir.Meta{}, m, "its record is as damaged as it was")
		require.NoError(t, s.replace("layer", madeAgain(t, s), layerdir.Meta{Sealed: true}), "the next try works")
	}
	require.NoError(t, s.RemoveIdle("made"), "the layer that was to be another")
	foreign, err := s.foreign(t.Context())
	require.NoError(t, err)
	m, err := s.Load("layer")
	if err == nil {
		if !m.View {
			require.FileExists(t, s.parentsFile("layer"))
			files, err := os.ReadDir(s.branch("layer"))
			require.NoError(t, err)
			require.Len(t, files, 1)
		}
		require.DirExists(t, s.mnt("layer"))
		require.Equal(t, wasForeign, len(foreign) == 1, "foreign layers: %v", foreign)
		require.NoError(t, s.RemoveIdle("layer"), "it can be removed")
	} else {
		require.ErrorIs(t, err, driver.ErrNotFound)
		require.Empty(t, foreign)
	}
	require.NoError(t, s.Close())
	require.NoError(t, s.records.Cleanup(t.Context()))
	require.Equal(t, empty, places(t, s.root))
	require.NoError(t, makeLayer(s, "layer", layerdir.Meta{}), "the name is free")
}

// madeAgain makes a layer for another try.
func madeAgain(t *testing.T, s *store) driver.ID {
	t.Helper()
	require.NoError(t, makeLayer(s, "again", layerdir.Meta{Sealed: true}))
	return "again"
}

func TestAStepThatFailsLeavesTheLayerWholeOrAbsent(t *testing.T) {
	injected := errors.New("injected")
	for _, c := range scenes() {
		for _, at := range stepsOf(t, c) {
			t.Run(c.name+": "+at, func(t *testing.T) {
				dir := t.TempDir()
				c.prepare(t, dir)
				s := openTest(t, dir)
				s.step = func(name string) error {
					if name == at {
						return injected
					}
					return nil
				}
				require.ErrorIs(t, c.call(s), injected)
				if strings.HasPrefix(c.name, "create") {
					_, err := s.Load("layer")
					require.ErrorIs(t, err, driver.ErrNotFound)
					require.NoError(t, s.Close())
					require.Equal(t, empty, places(t, dir), "nothing is left of it at once")
				}
				s.step = func(string) error { return nil }
				require.NoError(t, s.recover(t.Context()))
				requireWholeOrAbsent(t, s, strings.Contains(c.name, "foreign"))
			})
		}
	}
}

func TestAFailedRemovalIsFinishedByTheNextOneAndByCreate(t *testing.T) {
	injected := errors.New("injected")
	again := map[string]func(s *store) error{
		"remove": func(s *store) error { return s.RemoveIdle("layer") },
		"create": func(s *store) error {
			if err := makeLayer(s, "layer", layerdir.Meta{}); err != nil {
				return err
			}
			return s.RemoveIdle("layer")
		},
	}
	for name, call := range again {
		for _, at := range []string{"take branch", "take parents", "sync taken mount point", "drop record"} {
			t.Run(at+" then "+name, func(t *testing.T) {
				s := openTest(t, t.TempDir())
				require.NoError(t, makeLayer(s, "layer", layerdir.Meta{}))
				s.step = func(name string) error {
					if name == at {
						return injected
					}
					return nil
				}
				require.ErrorIs(t, s.RemoveIdle("layer"), injected)
				_, err := s.Load("layer")
				require.ErrorIs(t, err, driver.ErrNotFound)
				s.step = func(string) error { return nil }
				require.NoError(t, call(s))
				requireWholeOrAbsent(t, s, false)
			})
		}
	}
}

func TestWhatAppearsInPlaceOfARemovedLayerGoesWithIt(t *testing.T) {
	injected := errors.New("injected")
	dir := t.TempDir()
	s := openTest(t, dir)
	require.NoError(t, makeLayer(s, "layer", layerdir.Meta{}))
	s.step = func(name string) error {
		if name == "drop record" {
			return injected
		}
		return nil
	}
	require.ErrorIs(t, s.RemoveIdle("layer"), injected)
	s.step = func(string) error { return nil }
	foreignLayer(t, dir, "layer") // made by an engine that should not run now
	require.Empty(t, foreignIDs(t, s))
	require.NoError(t, s.recover(t.Context()))
	require.NoError(t, s.Close())
	require.Equal(t, empty, places(t, dir))
}

func TestALayerThatCannotBeTakenAwayDoesNotKeepTheStoreFromOpening(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	dir := t.TempDir()
	openDriver(t, dir)
	s := openTest(t, dir)
	require.NoError(t, makeLayer(s, "layer", layerdir.Meta{}))
	require.NoError(t, s.condemn("layer"))
	require.NoError(t, unix.Mount("tmpfs", s.branch("layer"), "tmpfs", 0, ""))
	d := openDriver(t, dir)
	err := d.Cleanup(t.Context())
	require.NoError(t, unix.Unmount(s.branch("layer"), 0))
	require.ErrorIs(t, err, driver.ErrBusy)
	ids, err := d.Layers(t.Context())
	require.NoError(t, err)
	require.Empty(t, ids, "it does not exist any more")
	require.NoError(t, d.Cleanup(t.Context()))
	require.NoDirExists(t, s.branch("layer"))
}

// Environment variables that make this test binary kill itself in the middle of
// a call.
const (
	dieIn    = "LAYERKEEP_TEST_AUFS_STORE"
	dieScene = "LAYERKEEP_TEST_AUFS_SCENE"
	dieAt    = "LAYERKEEP_TEST_AUFS_STEP"
)

func TestKilledHere(t *testing.T) {
	dir := os.Getenv(dieIn)
	if dir == "" {
		t.Skip("the process that another test kills")
	}
	for _, c := range scenes() {
		if c.name != os.Getenv(dieScene) {
			continue
		}
		s, err := openStore(dir, driver.Options{})
		require.NoError(t, err)
		s.step = func(name string) error {
			if name == os.Getenv(dieAt) {
				return unix.Kill(unix.Getpid(), unix.SIGKILL)
			}
			return nil
		}
		require.NoError(t, c.call(s))
	}
}

func TestAKilledProcessLeavesTheLayerWholeOrAbsent(t *testing.T) {
	for _, c := range scenes() {
		for _, at := range stepsOf(t, c) {
			t.Run(c.name+": "+at, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				c.prepare(t, dir)
				self, err := os.Executable()
				require.NoError(t, err)
				cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestKilledHere$")
				cmd.Env = append(os.Environ(), dieIn+"="+dir, dieScene+"="+c.name, dieAt+"="+at)
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				require.ErrorAs(t, err, &exit, "it was not killed: %s", out)
				require.Equal(t, unix.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "%s", out)

				s := openTest(t, dir)
				require.NoError(t, s.recover(t.Context()))
				requireWholeOrAbsent(t, s, strings.Contains(c.name, "foreign"))
			})
		}
	}
}
