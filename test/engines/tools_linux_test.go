package engines

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// requirements skips the test unless it runs as root with the programs named,
// which are looked up in PATH, or are directories of built tools.
func requirements(t testing.TB, programs ...string) {
	t.Helper()
	if testing.Short() {
		skip(t, "-short: real engines take minutes")
	}
	if os.Geteuid() != 0 {
		skip(t, "not root: engines need it")
	}
	var missing []string
	for _, program := range append([]string{"go", "runc", "busybox", "skopeo", "docker-registry"}, programs...) {
		if _, err := findProgram(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		skip(t, "not installed (scripts/install-test-deps): "+strings.Join(missing, ", "))
	}
	if !static(t, program(t, "busybox")) {
		skip(t, "busybox needs libraries, which the images do not have: install busybox-static")
	}
	if !fstest.CanMount(t) {
		skip(t, "this process may not mount")
	}
	if err := unix.Mknod(filepath.Join(t.TempDir(), "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		skip(t, "no device nodes can be made: "+err.Error())
	}
}

// static reports whether an executable needs no libraries.
func static(t testing.TB, name string) bool {
	t.Helper()
	f, err := elf.Open(name)
	require.NoError(t, err)
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// toolsDir is where scripts/build-test-tools puts what it builds.
func toolsDir() string {
	if dir := os.Getenv("LAYERKEEP_TOOLS"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "/nonexistent"
	}
	return filepath.Join(cache, "layerkeep", "tools")
}

// findProgram finds a program: the whole path of "NAME-VERSION" or
// "NAME-VERSION/PROGRAM" among the built tools, else in PATH and where Debian
// has the programs of root.
func findProgram(name string) (string, error) {
	if built := filepath.Join(toolsDir(), name); strings.ContainsAny(name, "0123456789") {
		if _, err := os.Stat(built); err == nil {
			return built, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path := filepath.Join("/usr/sbin", name)
	_, err := os.Stat(path)
	return path, err
}

// program is findProgram for what requirements has found.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := findProgram(name)
	require.NoError(t, err)
	return path
}

var built struct {
	once sync.Once
	dir  string
	out  string
	err  error
}

// snapctl returns the path of the command, built as it is shipped, or that in
// $LAYERKEEP_SNAPCTL.
func snapctl(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("LAYERKEEP_SNAPCTL"); path != "" {
		return path
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "engines-"); built.err != nil {
			return
		}
		built.out, built.err = tryEnv([]string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-o", filepath.Join(built.dir, "snapctl"), "../../cmd/snapctl")
	})
	require.NoError(t, built.err, built.out)
	return filepath.Join(built.dir, "snapctl")
}

func removeBuilt() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}
