package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/testrun"
)

// A kernelAnswer is what a kernel, or a filter of system calls, says to the
// calls of the new mount API whose names begin so.
type kernelAnswer map[string]error

func (k kernelAnswer) call(name string) error {
	for prefix, err := range k {
		if strings.HasPrefix(name, prefix) {
			return err
		}
	}
	return nil
}

// answers are those of kernels that people run, with the way that is left.
var answers = []struct {
	name  string
	calls kernelAnswer
	// probed is the way that a probe names: it is mounted nowhere.
	probed Way
}{
	{"6.15 and later", nil, WayDescriptors},
	{"6.7 to 6.14: no descriptors opened with O_PATH", kernelAnswer{"descriptor": unix.EBADF}, WayStrings},
	{"6.5 and 6.6: no lowerdir+", kernelAnswer{"descriptor": unix.EINVAL, "string lowerdir+": unix.EINVAL}, WayMount2},
	{"5.2 to 6.4: no descriptors, no lowerdir+", kernelAnswer{"descriptor": unix.EOPNOTSUPP, "string lowerdir+": unix.EINVAL}, WayMount2},
	{"before 5.2", kernelAnswer{"fsopen": unix.ENOSYS, "open_tree": unix.ENOSYS, "move_mount": unix.ENOSYS}, WayMount2},
	{"a seccomp filter", kernelAnswer{"fsopen": unix.EPERM, "open_tree": unix.EPERM, "move_mount": unix.EPERM}, WayMount2},
	{"a profile that forbids move_mount", kernelAnswer{"move_mount": unix.EACCES}, WayDescriptors},
	{"a profile that forbids fsmount", kernelAnswer{"fsmount": unix.EACCES, "mount_setattr": unix.EACCES}, WayMount2},
	{"no new mount namespaces either", kernelAnswer{"fsopen": unix.EPERM, "open_tree": unix.EPERM, "unshare": unix.EPERM}, WayMount2},
	{"no more mount namespaces", kernelAnswer{"fsopen": unix.EPERM, "open_tree": unix.EPERM, "unshare": unix.ENOSPC}, WayMount2},
}

func TestEveryRefusalLeadsToTheNextWayOfMounting(t *testing.T) {
	needMounts(t)
	for _, a := range answers {
		t.Run(a.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, lower := range map[string]string{"short": "l", "long": strings.Repeat("long/", 60) + "l", "odd": `a,b:c\d`} {
				m := overlayIn(t, dir+"/"+name, lower, "upper-"+lower, "work-"+lower)
				dst := dir + "/" + name + "/dst"
				mkdirs(t, dst)
				write(t, m.Overlay.Lower[0]+"/below", name)
				m.Options = []string{"index=off"}
				mr := Mounter{call: a.calls.call}
				mountFor(t, mr, m, dst)
				require.Equal(t, name, read(t, dst+"/below"))
				write(t, dst+"/new", name)
				require.Equal(t, name, read(t, m.Overlay.Upper+"/new"))
			}
			bound := dir + "/bound"
			mkdirs(t, bound)
			mountFor(t, Mounter{call: a.calls.call}, Mount{Type: "bind", Source: dir, ReadOnly: true}, bound)
			require.ErrorIs(t, os.WriteFile(bound+"/x", nil, 0o600), unix.EROFS)
		})
	}
}

func TestAProbeNamesTheWayThatIsLeft(t *testing.T) {
	needMounts(t)
	first, err := Mounter{}.Probe(t.Context(), t.TempDir(), false)
	require.NoError(t, err)
	for _, a := range answers {
		t.Run(a.name, func(t *testing.T) {
			f, err := Mounter{call: a.calls.call}.Probe(t.Context(), t.TempDir(), false)
			require.NoError(t, err)
			require.Equal(t, max(a.probed, first.Way), f.Way)
			f.Way = first.Way
			require.Equal(t, first, f, "the same options work in every way")
		})
	}
}

func TestWhatNoWayMountsIsRefusedWithTheAnswerOfEach(t *testing.T) {
	needMounts(t)
	dir := t.TempDir()
	m := overlayIn(t, dir, "l", "u", "w")
	mkdirs(t, dir+"/dst")
	m.Options = []string{"nonsense=on"}
	err := All(t.Context(), []Mount{m}, dir+"/dst")
	require.ErrorIs(t, err, unix.EINVAL)
	require.Contains(t, err.Error(), "mount(2): ")
	require.ErrorIs(t, Unmount(dir+"/dst"), ErrNotMounted)
}

func TestAFullDiskOrAMissingDirectoryIsNoReasonForAnotherWay(t *testing.T) {
	needMounts(t)
	dir := t.TempDir()
	m := overlayIn(t, dir, "l", "u", "w")
	mkdirs(t, dir+"/dst")
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EMFILE, unix.EBUSY} {
		var asked []string
		mr := Mounter{call: func(name string) error {
			asked = append(asked, name)
			if name == "descriptor lowerdir+" || name == "string lowerdir+" {
				return errno
			}
			return nil
		}}
		require.ErrorIs(t, mr.All(t.Context(), []Mount{m}, dir+"/dst"), errno)
		require.NotContains(t, asked, "string lowerdir+", "%v", errno)
	}
	m.Overlay.Lower[0] += "-missing"
	require.ErrorIs(t, All(t.Context(), []Mount{m}, dir+"/dst"), os.ErrNotExist)
	require.ErrorIs(t, Unmount(dir+"/dst"), ErrNotMounted)
}

// mappedIn returns the lines of a mount table that are mounts with mapped IDs
// of directories below dir. Other tests make such mounts of theirs.
func mappedIn(t *testing.T, table, dir string) (lines []string) {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(dir, &st))
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[2] != device || !strings.Contains(line, "idmapped") {
			continue
		}
		// The root is a path in the file system, which is mounted somewhere above dir.
		for _, name := range []string{"a/fs", "b/fs"} {
			if strings.HasSuffix(filepath.Join(dir, name), fields[3]) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

func TestMountsWithMappedIDsAreSeenInATable(t *testing.T) {
	needMaps(t)
	base := scratch(t)
	mkdirs(t, base+"/a/fs", base+"/target")
	mountFor(t, Mounter{}, Mount{Type: "bind", Source: base + "/a/fs", IDMap: testMap}, base+"/target")
	require.Len(t, mappedIn(t, read(t, "/proc/self/mountinfo"), base), 1)
	require.Empty(t, mappedIn(t, read(t, "/proc/self/mountinfo"), base+"/a"))
}

func TestAMapOfIDsIsMountedByNameWhereDescriptorsAreRefused(t *testing.T) {
	needMaps(t)
	t.Setenv("TMPDIR", "/nonexistent") // nothing is made there
	for _, a := range answers[:4] {
		for name, long := range map[string]string{"short": "", "long": strings.Repeat("long/", 60), "odd": `a,b:c\d/`} {
			t.Run(a.name+"/"+name, func(t *testing.T) {
				base := scratch(t) + "/" + long
				target, work := base+"target", base+"work"
				mkdirs(t, base+"a/fs", base+"b/fs", base+"upper", target, work)
				owned(t, base+"a/fs/root", 0, 0)
				var table []string
				mountFor(t, Mounter{call: func(name string) error {
					table = append(table, read(t, "/proc/1/mountinfo"), read(t, "/proc/self/mountinfo"))
					return a.calls.call(name)
				}}, Mount{
					Type: "overlay", Source: "overlay", IDMap: testMap, Options: []string{"index=off"},
					Overlay: &Overlay{Lower: []string{base + "a/fs", base + "b/fs"}, Upper: base + "upper", Work: work},
				}, target)
				require.Equal(t, [2]uint32{200_000, 400_000}, owner(t, target+"/root"))
				write(t, target+"/root", "changed")
				require.Equal(t, [2]uint32{200_000, 400_000}, owner(t, base+"upper/root"))
				for _, text := range table {
					require.Empty(t, mappedIn(t, text, base), "others could go in")
				}
			})
		}
	}
	for _, a := range answers[4:6] {
		m := Mount{Type: "overlay", Source: "overlay", IDMap: testMap, ReadOnly: true, Overlay: &Overlay{Lower: []string{scratch(t), scratch(t)}}}
		require.ErrorIs(t, Mounter{call: a.calls.call}.All(t.Context(), []Mount{m}, scratch(t)), ErrUnsupported)
	}
}

// scratch is a directory of this test, also where TMPDIR was changed.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(testrun.TempDir(), "mapped-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func TestAVolatileOverlayThatIsRefusedAtTheEndIsMountedInTheNextWay(t *testing.T) {
	needMounts(t)
	for _, name := range []string{"move_mount", "fsmount"} {
		dir := t.TempDir()
		m := overlayIn(t, dir, "l", "u", "w")
		mkdirs(t, dir+"/dst")
		m.Options = []string{"index=off", "volatile"}
		mountFor(t, Mounter{call: kernelAnswer{name: unix.EACCES}.call}, m, dir+"/dst")
		write(t, dir+"/dst/f", "x")
	}
}

func TestAnErrorMatchesTheLastAnswerOnly(t *testing.T) {
	needMounts(t)
	dir := t.TempDir()
	m := overlayIn(t, dir, "l", "u", "w")
	mkdirs(t, dir+"/dst")
	m.Options = []string{"nonsense=on"}
	for _, answer := range []kernelAnswer{{"descriptor": unix.EOPNOTSUPP}, {"fsopen": unix.EPERM}} {
		err := Mounter{call: answer.call}.All(t.Context(), []Mount{m}, dir+"/dst")
		require.ErrorIs(t, err, unix.EINVAL)
		require.NotErrorIs(t, err, errors.ErrUnsupported)
		require.NotErrorIs(t, err, ErrUnsupported)
		require.NotErrorIs(t, err, os.ErrPermission)
	}
}

func TestAContextThatKnowsNoDescriptorsIsNotAskedForStrings(t *testing.T) {
	needMounts(t)
	dir := t.TempDir()
	m := overlayIn(t, dir, "l", "u", "w")
	mkdirs(t, dir+"/dst")
	var asked []string
	mountFor(t, Mounter{call: func(name string) error {
		asked = append(asked, name)
		return kernelAnswer{"descriptor": unix.EOPNOTSUPP}.call(name)
	}}, m, dir+"/dst")
	require.NotContains(t, asked, "string lowerdir+", "old kernels log an error for it")
}

func TestARelativePathIsRefused(t *testing.T) {
	for _, o := range []*Overlay{{Lower: []string{"l"}}, {Lower: []string{"/l"}, Upper: "u", Work: "/w"}} {
		require.ErrorIs(t, Mount{Type: "overlay", Overlay: o}.check(), ErrUnsupported)
	}
}
