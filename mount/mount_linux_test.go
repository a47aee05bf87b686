package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// mounters are all ways of mounting, each as the first.
var mounters = map[string]Mounter{
	WayDescriptors.String(): {First: WayDescriptors},
	WayStrings.String():     {First: WayStrings},
	WayMount2.String():      {First: WayMount2},
}

func needMounts(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("no permission to mount: %v", err)
	}
	require.NoError(t, unix.Unmount(dir, 0))
}

func mkdirs(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		require.NoError(t, os.MkdirAll(p, 0o755))
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func eachWay(t *testing.T, fn func(t *testing.T, mr Mounter)) {
	needMounts(t)
	for name, mr := range mounters {
		t.Run(name, func(t *testing.T) { fn(t, mr) })
	}
}

func mountFor(t *testing.T, mr Mounter, m Mount, target string) {
	t.Helper()
	require.NoError(t, mr.All(context.Background(), []Mount{m}, target))
	t.Cleanup(func() {
		if err := Unmount(target); err != nil && !errors.Is(err, ErrNotMounted) {
			t.Error(err)
		}
	})
}

func TestABindShowsItsSourceAndAReadOnlyOneRefusesWrites(t *testing.T) {
	eachWay(t, func(t *testing.T, mr Mounter) {
		dir := t.TempDir()
		src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
		mkdirs(t, src, dst)
		write(t, src+"/f", "x")
		mountFor(t, mr, Mount{Type: "bind", Source: src, ReadOnly: true}, dst)
		require.Equal(t, "x", read(t, dst+"/f"))
		require.ErrorIs(t, os.WriteFile(dst+"/g", nil, 0o644), unix.EROFS)
		write(t, src+"/g", "the source itself stays writable")
		require.NoError(t, Unmount(dst))

		mountFor(t, mr, Mount{Type: "bind", Source: src}, dst)
		write(t, dst+"/h", "y")
		require.Equal(t, "y", read(t, src+"/h"))
	})
}

func TestAnOverlayMergesAndWritesToItsUpper(t *testing.T) {
	eachWay(t, func(t *testing.T, mr Mounter) {
		dir := t.TempDir()
		m := overlayIn(t, dir, "l", "u", "w")
		write(t, m.Overlay.Lower[0]+"/a", "a")
		dst := filepath.Join(dir, "dst")
		mkdirs(t, dst)
		m.Options = []string{"index=off", "redirect_dir=on"}
		mountFor(t, mr, m, dst)
		require.Equal(t, "a", read(t, dst+"/a"))
		write(t, dst+"/b", "b")
		require.Equal(t, "b", read(t, m.Overlay.Upper+"/b"))
	})
}

func overlayIn(t *testing.T, dir, lower, upper, work string) Mount {
	o := &Overlay{Lower: []string{filepath.Join(dir, lower)}, Upper: filepath.Join(dir, upper), Work: filepath.Join(dir, work)}
	mkdirs(t, o.Lower[0], o.Upper, o.Work)
	return Mount{Type: "overlay", Source: "overlay", Overlay: o}
}

func TestNamesWithEverySpecialCharacterAreMounted(t *testing.T) {
	for _, special := range []string{"a,b", "a:b", `a\b`, `a\:b,c`, `\`, "a b", "a=b", "ends\\", "quote'\"", "new\nline", strings.Repeat("long", 60)} {
		eachWay(t, func(t *testing.T, mr Mounter) {
			dir := t.TempDir()
			m := overlayIn(t, dir, special, special+"-upper", special+"-work")
			second := filepath.Join(dir, special+"2")
			mkdirs(t, second, dir+"/dst")
			m.Overlay.Lower = append(m.Overlay.Lower, second)
			write(t, m.Overlay.Lower[0]+"/one", "1")
			write(t, second+"/two", "2")
			mountFor(t, mr, m, dir+"/dst")
			require.Equal(t, "1", read(t, dir+"/dst/one"))
			require.Equal(t, "2", read(t, dir+"/dst/two"))
			write(t, dir+"/dst/three", "3")
			require.Equal(t, "3", read(t, m.Overlay.Upper+"/three"))
		})
	}
}

func manyLowers(t *testing.T, dir string, n int) Mount {
	o := &Overlay{}
	for i := range n {
		l := filepath.Join(dir, fmt.Sprint(i))
		mkdirs(t, l)
		write(t, filepath.Join(l, fmt.Sprintf("f%d", i)), fmt.Sprint(i))
		o.Lower = append(o.Lower, l)
	}
	return Mount{Type: "overlay", Source: "overlay", ReadOnly: true, Overlay: o}
}

// alone runs the test that calls it again, in a process with mounts of its own,
// unless this is it: a mount of hundreds of layers has a line in the table of
// mounts that is longer than some programs can read.
func alone(t *testing.T) (inside bool) {
	t.Helper()
	needMounts(t)
	const mark = "LAYERKEEP_TEST_ALONE"
	if os.Getenv(mark) != "" {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

func TestFiveHundredLowersMountAndOneMoreIsRefused(t *testing.T) {
	if !alone(t) {
		return
	}
	eachWay(t, func(t *testing.T, mr Mounter) {
		dir := t.TempDir()
		dst := filepath.Join(dir, "dst")
		mkdirs(t, dst)
		m := manyLowers(t, filepath.Join(dir, strings.Repeat("deep/", 30)), MaxLower+1)
		require.ErrorIs(t, mr.All(t.Context(), []Mount{m}, dst), ErrUnsupported)
		m.Overlay.Lower = m.Overlay.Lower[:MaxLower]
		mountFor(t, mr, m, dst)
		for i := range MaxLower {
			require.Equal(t, fmt.Sprint(i), read(t, fmt.Sprintf("%s/f%d", dst, i)))
		}
	})
}

func TestLongNamesOfManyLayersMountWithoutTheNewInterface(t *testing.T) {
	if !alone(t) {
		return
	}
	dir := t.TempDir()
	m := manyLowers(t, dir, 2)
	m.Overlay.Lower = nil
	for i := range MaxLower {
		l := filepath.Join(dir, strings.Repeat("long", 20), fmt.Sprintf("layer-with-a-long-name-%d", i))
		mkdirs(t, l)
		write(t, fmt.Sprintf("%s/f%d", l, i), fmt.Sprint(i))
		m.Overlay.Lower = append(m.Overlay.Lower, l)
	}
	mkdirs(t, dir+"/dst")
	mountFor(t, Mounter{First: WayMount2}, m, dir+"/dst")
	for i := range MaxLower {
		require.Equal(t, fmt.Sprint(i), read(t, fmt.Sprintf("%s/dst/f%d", dir, i)))
	}
}

func TestOptionsThatTheKernelWouldCutAreRefused(t *testing.T) {
	needMounts(t)
	dir := t.TempDir()
	m := manyLowers(t, dir, 2)
	for range 500 {
		m.Options = append(m.Options, "index=off")
	}
	mkdirs(t, dir+"/dst")
	err := Mounter{First: WayMount2}.All(t.Context(), []Mount{m}, dir+"/dst")
	require.ErrorIs(t, err, ErrTooLong)
	require.ErrorIs(t, Unmount(dir+"/dst"), ErrNotMounted, "nothing was mounted")
}

func TestTheWorkingDirectoryOfTheProcessStays(t *testing.T) {
	needMounts(t)
	before, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	m := manyLowers(t, filepath.Join(dir, strings.Repeat("deep/", 30)), 60)
	mkdirs(t, dir+"/dst")
	mountFor(t, Mounter{First: WayMount2}, m, dir+"/dst")
	after, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestATargetThatIsNoDirectoryIsRefused(t *testing.T) {
	eachWay(t, func(t *testing.T, mr Mounter) {
		dir := t.TempDir()
		mkdirs(t, dir+"/src")
		write(t, dir+"/file", "")
		m := []Mount{{Type: "bind", Source: dir + "/src"}}
		require.ErrorIs(t, mr.All(t.Context(), m, dir+"/file"), ErrNotDirectory)
		require.ErrorIs(t, mr.All(t.Context(), m, dir+"/missing"), os.ErrNotExist)
	})
}

func TestABusyTargetIsRefused(t *testing.T) {
	eachWay(t, func(t *testing.T, mr Mounter) {
		dir := t.TempDir()
		mkdirs(t, dir+"/src", dir+"/dst")
		m := Mount{Type: "bind", Source: dir + "/src"}
		mountFor(t, mr, m, dir+"/dst")
		require.ErrorIs(t, mr.All(t.Context(), []Mount{m}, dir+"/dst"), ErrBusy)

		write(t, dir+"/dst/open", "")
		f, err := os.Open(dir + "/dst/open")
		require.NoError(t, err)
		require.ErrorIs(t, Unmount(dir+"/dst"), ErrBusy)
		require.NoError(t, f.Close())
		require.NoError(t, Unmount(dir+"/dst"))
		require.ErrorIs(t, Unmount(dir+"/dst"), ErrNotMounted)
	})
}

func TestAFailedMountLeavesNothingMounted(t *testing.T) {
	eachWay(t, func(t *testing.T, mr Mounter) {
		dir := t.TempDir()
		mkdirs(t, dir+"/src", dir+"/dst")
		err := mr.All(t.Context(), []Mount{
			{Type: "bind", Source: dir + "/src"},
			{Type: "overlay", Source: "overlay", Overlay: &Overlay{Lower: []string{dir + "/missing"}}},
		}, dir+"/dst")
		require.ErrorIs(t, err, os.ErrNotExist)
		require.ErrorIs(t, Unmount(dir+"/dst"), ErrNotMounted)
	})
}

func TestDetachedDescriptorsLeakNothing(t *testing.T) {
	needMounts(t)
	dir := t.TempDir()
	m := overlayIn(t, dir, "l", "u", "w")
	write(t, m.Overlay.Lower[0]+"/a", "a")
	f, err := Detached(m)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.NoError(t, f.Close())
	before := fstest.OpenDescriptors(t)
	f, err = Detached(m)
	require.NoError(t, err)
	fd, err := unix.Openat(int(f.Fd()), "a", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Close(fd))
	require.NoError(t, f.Close())
	m.Overlay.Upper = dir + "/missing"
	_, err = Detached(m)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, before, fstest.OpenDescriptors(t))
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(table), dir)
}

func TestWithTempUnmountsAlsoAfterAnError(t *testing.T) {
	eachWay(t, func(t *testing.T, mr Mounter) {
		src := t.TempDir()
		write(t, src+"/f", "x")
		boom := errors.New("boom")
		var seen string
		err := mr.WithTemp(t.Context(), []Mount{{Type: "bind", Source: src}}, func(root string) error {
			seen = root
			require.Equal(t, "x", read(t, root+"/f"))
			return boom
		})
		require.ErrorIs(t, err, boom)
		require.NoDirExists(t, seen)
		require.FileExists(t, src+"/f")
	})
}

func TestTheCommandLineMountsTheSame(t *testing.T) {
	needMounts(t)
	dir := t.TempDir()
	for i, m := range []Mount{
		{Type: "bind", Source: dir + "/it's a source", ReadOnly: true},
		overlayIn(t, dir, "it's a lower", "u", "w"),
	} {
		src, dst := m.Source, fmt.Sprintf("%s/dst %d", dir, i)
		if m.Overlay != nil {
			m.Options = []string{"index=off", "redirect_dir=on"}
			src = m.Overlay.Lower[0]
		}
		mkdirs(t, src, dst)
		write(t, src+"/a", "a")
		out, err := exec.Command("sh", "-c", m.Command(dst)).CombinedOutput()
		require.NoError(t, err, "%s\n%s", m.Command(dst), out)
		require.Equal(t, "a", read(t, dst+"/a"))
		err = os.WriteFile(dst+"/b", nil, 0o644)
		if m.ReadOnly {
			require.ErrorIs(t, err, unix.EROFS)
		} else {
			require.NoError(t, err)
		}
		require.NoError(t, Unmount(dst))
	}
}

func TestOptionsAreEscapedForTheKernelsParser(t *testing.T) {
	m := Mount{Type: "overlay", Source: "x", Overlay: &Overlay{Lower: []string{"/a,b", "/c:d"}, Upper: "/e:f,g", Work: `/h\i`}, Options: []string{"index=off"}}
	require.Equal(t, []string{"rw", `lowerdir=/a\,b:/c\:d`, `upperdir=/e:f\,g`, `workdir=/h\\i`, "index=off"}, m.Strings())
	require.Equal(t, `mount -o bind,ro /it\''s /mnt`, strings.ReplaceAll(Mount{Type: "bind", Source: "/it's", ReadOnly: true}.Command("/mnt"), `'/it'\''s'`, `/it\''s`))
}

func TestACancelledProbeSaysNothingOfTheMachine(t *testing.T) {
	needMounts(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Mounter{}.Probe(ctx, t.TempDir(), false)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrUnsupported)
}

func TestAFullDiskSaysNothingOfTheMachine(t *testing.T) {
	needMounts(t)
	disk := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "nr_inodes=64"))
	t.Cleanup(func() { require.NoError(t, Unmount(disk)) })
	probe := func() (Features, error) {
		dir := filepath.Join(disk, "probe")
		require.NoError(t, os.Mkdir(dir, 0o700))
		defer os.RemoveAll(dir)
		return Mounter{}.Probe(t.Context(), dir, false)
	}
	want, err := probe()
	require.NoError(t, err)
	var fill []string
	for {
		path := filepath.Join(disk, fmt.Sprint(len(fill)))
		if os.Mkdir(path, 0o700) != nil {
			break
		}
		fill = append(fill, path)
	}
	for i, path := range fill {
		require.NoError(t, os.Remove(path))
		got, err := probe()
		if err == nil {
			require.Equal(t, want, got, "with %d inodes free", i+1)
			continue
		}
		require.ErrorIs(t, err, unix.ENOSPC)
		require.NotErrorIs(t, err, ErrUnsupported)
	}
}

func TestAProbeIsMountedNowhere(t *testing.T) {
	eachWay(t, probeIsMountedNowhere)
}

func probeIsMountedNowhere(t *testing.T, mr Mounter) {
	dir := t.TempDir()
	p := &prober{ctx: t.Context(), mr: mr, dir: dir}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		mkdirs(t, filepath.Join(dir, name))
	}
	root, done, err := p.mount(Mount{
		Type: "overlay", Source: "overlay", Options: []string{"index=off"},
		Overlay: &Overlay{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Work: dir + "/work"},
	}, dir+"/merged")
	require.NoError(t, err)
	defer func() { require.NoError(t, done()) }()
	require.NotContains(t, read(t, "/proc/self/mountinfo"), dir)
	require.NoError(t, unix.Mkdirat(int(root.Fd()), "made", 0o700))
	require.DirExists(t, dir+"/upper/made")
	require.ErrorIs(t, Unmount(dir+"/merged"), ErrNotMounted)
}

func TestWhatIsMountedInABindStaysOutOfItsSource(t *testing.T) {
	eachWay(t, func(t *testing.T, mr Mounter) {
		shared, target := t.TempDir(), t.TempDir()
		require.NoError(t, unix.Mount("tmpfs", shared, "tmpfs", 0, ""))
		t.Cleanup(func() { require.NoError(t, Unmount(shared)) })
		require.NoError(t, unix.Mount("", shared, "", unix.MS_SHARED, ""))
		mkdirs(t, shared+"/tree/in")
		mountFor(t, mr, Mount{Type: "bind", Source: shared + "/tree"}, target)
		require.NoError(t, unix.Mount("tmpfs", target+"/in", "tmpfs", 0, ""))
		t.Cleanup(func() { require.NoError(t, Unmount(target+"/in")) })
		write(t, target+"/in/f", "")
		require.NoFileExists(t, shared+"/tree/in/f")
	})
}

func TestACommandLineThatWouldNotFitIntoThePageMountsAllTheSame(t *testing.T) {
	needMounts(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long ", 20))
	m := Mount{Type: "overlay", Source: "overlay", Overlay: &Overlay{Upper: dir + "/upper", Work: dir + "/work"}}
	dst := dir + "/dst"
	mkdirs(t, m.Overlay.Upper, m.Overlay.Work, dst)
	for i := range 200 {
		lower := fmt.Sprintf("%s/%d/fs", dir, i)
		mkdirs(t, lower)
		write(t, fmt.Sprintf("%s/file%d", lower, i), "x")
		m.Overlay.Lower = append(m.Overlay.Lower, lower)
	}
	out, err := exec.Command("sh", "-c", m.Command(dst)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	defer func() { require.NoError(t, Unmount(dst)) }()
	seen, err := os.ReadDir(dst)
	require.NoError(t, err)
	require.Len(t, seen, len(m.Overlay.Lower))
}
