package drivertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Config says how to open the backend under test.
type Config struct {
	// New opens a store in dir, as the backend's constructor.
	New func(ctx context.Context, dir string, opts driver.Options) (driver.Driver, error)
	// Options are handed to New.
	Options driver.Options
	// Dir is where stores are made; default: a temporary directory of the test.
	Dir string
	// Filesystems are the kinds of file system that the backend can live on, that
	// of the whole suite first; default: all, a tmpfs first.
	Filesystems []fstest.FS
	// Overlays: the kernel's overlay shows the layers, so that the ways of mounting
	// one and its kinds of attributes matter.
	Overlays bool
	// Editor, where there is one, takes the place of a writable mount as long as
	// Properties.MountsWritable says that there is none: it makes edits in the
	// layer id of the store in dir, whose parents, nearest first, are given.
	Editor func(dir string, id driver.ID, parents []driver.ID) Editor
	// Places are all files and directories that make up the layer id of the store
	// in dir, that with its files first; default: the directory id.
	Places func(dir string, id driver.ID) []string
	// ReplacesIdle: a layer is only replaced while nothing that has it is mounted.
	ReplacesIdle bool
}

// An Editor makes edits as one writable mount of a layer would, and returns the
// errors that the mount would give.
type Editor interface {
	Apply(e fstest.Edit) error
}

// ability is what this process may do in a directory.
type ability struct {
	// mounts: mounting works.
	mounts bool
	// owners: files can be given any owner, device nodes and trusted
	// attributes can be made.
	owners bool
}

// suite is one run of the conformance suite.
type suite struct {
	Config
	props driver.Properties
	can   ability
	// rerecords: the driver is a [driver.Rerecorder].
	rerecords bool
	// findsWriters: it is a [driver.WriterFinder].
	findsWriters bool
	// brief leaves out what does not depend on the place and the fast paths.
	brief bool
	// whole: this is a run of the whole suite.
	whole bool
}

// newSuite opens a store once to learn the properties. The test is skipped, and
// told why, when the backend does not work here at all.
func newSuite(tb testing.TB, cfg Config) *suite {
	tb.Helper()
	if cfg.Dir == "" {
		cfg.Dir = tb.TempDir()
	}
	s := &suite{Config: cfg}
	d, err := cfg.New(tb.Context(), s.freshDir(tb), cfg.Options)
	if errors.Is(err, driver.ErrUnsupported) {
		tb.Skipf("the backend does not work here: %v", err)
	}
	require.NoError(tb, err)
	s.props = d.Properties()
	_, s.rerecords = d.(driver.Rerecorder)
	_, s.findsWriters = d.(driver.WriterFinder)
	require.NoError(tb, d.Close())
	s.can = ability{mounts: fstest.CanMount(tb), owners: fstest.CanOwn(tb, cfg.Dir)}
	return s
}

func (s *suite) freshDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp(s.Dir, "store-")
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, fstest.RemoveAll(dir)) })
	return filepath.Join(dir, "root")
}

// Run runs the whole suite in cfg.Dir.
func Run(t *testing.T, cfg Config) {
	s := newSuite(t, cfg)
	s.whole = true
	t.Run("life cycle", s.testLifeCycle)
	t.Run("facts", s.testFacts)
	t.Run("records", s.testRecord)
	t.Run("writers", s.testWriters)
	t.Run("races", s.testRaces)
	t.Run("replacing", s.testReplace)
	t.Run("borrowing", s.testBorrow)
	t.Run("semantics", s.testSemantics)
	t.Run("stream", s.testStream)
	t.Run("special", s.testSpecial)
	t.Run("times", s.testTimes)
	t.Run("hostile input", s.testHostile)
	t.Run("rollback", s.testRollback)
	t.Run("canonical bytes", s.testCanonical)
	t.Run("usage", s.testUsage)
	t.Run("quota", s.testQuota)
	t.Run("mapped IDs", s.testIDMap)
	t.Run("explain", s.testExplain)
	t.Run("continuity", s.testContinuity)
	t.Run("long chain", s.testLongChain)
	t.Run("too many layers", s.testTooManyLayers)
	t.Run("concurrency", s.testConcurrency)
}

// RunSemantics runs the part of the suite that depends on the file system and
// on the fast paths: what layers mean, and the rollback of failed ones.
func RunSemantics(t *testing.T, cfg Config) {
	runSemantics(t, newSuite(t, cfg))
}

// runBrief is RunSemantics with every layer applied in one way only.
func runBrief(t *testing.T, cfg Config) {
	s := newSuite(t, cfg)
	s.brief = true
	runSemantics(t, s)
}

func runSemantics(t *testing.T, s *suite) {
	t.Run("semantics", s.testSemantics)
	t.Run("special", s.testSpecial)
	t.Run("times", s.testTimes)
	t.Run("hostile input", s.testHostile)
	t.Run("rollback", s.testRollback)
	t.Run("canonical bytes", s.testCanonical)
	t.Run("mapped IDs", s.testIDMap)
}
