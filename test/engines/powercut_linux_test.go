package engines

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/resultdoc"
	"github.com/layerkeep/layerkeep/test/robustness/cutdisk"
)

// These tests cut the power after an engine has said that an image is there.
// What is promised is tested in every run: with our snapshotter nothing is
// lost. A long run also makes the same cuts under engines that use their own,
// to know what people have without us, and can write the table of the document.

const (
	durability    = "../../docs/durability.md"
	cutsTableName = "power cuts of engines"
	// longEnv is set for a long run: a number of cuts.
	longEnv = "LAYERKEEP_ROBUST_CUTS"
	seedEnv = "LAYERKEEP_ROBUST_SEED"
	// cutLayers and cutFiles are the layers of the image, and the files in each.
	cutLayers, cutFiles = 4, 34
	cutImage            = "imported/cut:" + tag
)

// An unpacker is a program that unpacks an image, and says that it has.
type unpacker struct {
	name string
	ours bool
	// programs are what it needs, see requirements.
	programs []string
	// begin makes it ready in a directory, which may have what it left there before
	// a cut.
	begin func(t testing.TB, dir string) (unpacking, error)
}

// An unpacking is an unpacker at work in one directory.
type unpacking struct {
	// unpack returns when the program says that the image is there.
	unpack func(archive string) error
	// listed reports whether the program says that it has the image.
	listed func() (bool, error)
	end    func()
}

func unpackers() []unpacker {
	tools := []string{containerd2 + "/containerd", containerd2 + "/ctr"}
	return []unpacker{
		{"containerd 2.4.2 with Layerkeep", true, tools, beginWithLayerkeep},
		{"containerd 2.4.2", false, tools, beginContainerd()},
		// Only with --local does it heed --sync-fs.
		{"containerd 2.4.2, `--local --sync-fs`", false, tools, beginContainerd("--local", "--sync-fs")},
		{"podman", false, []string{"podman"}, beginPodman},
	}
}

func beginWithLayerkeep(t testing.TB, dir string) (unpacking, error) {
	t.Helper()
	sockets := fstest.ShortDir(t)
	s := newServiceAt(t, filepath.Join(dir, "store"), "overlay2", "--containerd-address", filepath.Join(sockets, "containerd.sock"))
	c := configureContainerd(t, containerd2, filepath.Join(dir, "containerd"), sockets, deployed(t, "config-2.toml", s))
	u := unpackingOf(c, snapshotter)
	endContainerd := u.end
	u.end = func() {
		endContainerd()
		s.stop(t)
	}
	return u, c.comesUp(t)
}

// beginContainerd returns begin for a containerd with its own overlayfs
// snapshotter.
func beginContainerd(flags ...string) func(testing.TB, string) (unpacking, error) {
	return func(t testing.TB, dir string) (unpacking, error) {
		t.Helper()
		c := configureContainerd(t, containerd2, filepath.Join(dir, "containerd"), fstest.ShortDir(t), "")
		u := unpackingOf(c, "overlayfs", flags...)
		return u, c.comesUp(t)
	}
}

func unpackingOf(c *containerd, snapshotter string, flags ...string) unpacking {
	return unpacking{
		unpack: func(archive string) error {
			args := append([]string{"images", "import", "--snapshotter", snapshotter, "--base-name", "imported/cut"}, flags...)
			_, err := c.try(append(args, archive)...)
			return err
		},
		listed: func() (bool, error) {
			images, err := c.try("images", "ls", "-q")
			if err != nil || !strings.Contains(images, cutImage) {
				return false, err
			}
			snapshots, err := c.try("snapshots", "--snapshotter", snapshotter, "ls")
			return strings.Count(snapshots, "Committed") >= cutLayers, err
		},
		end: func() {
			c.endTasks()
			c.kill()
		},
	}
}

func beginPodman(t testing.TB, dir string) (unpacking, error) {
	t.Helper()
	// Podman remembers the path of what a new start of the machine empties.
	run, root := dir+"-run", filepath.Join(dir, "podman")
	require.NoError(t, os.RemoveAll(run))
	require.NoError(t, os.Mkdir(run, 0o700))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(run)) })
	try := func(args ...string) (string, error) { return podmanIn(t, run, root, "overlay", args...) }
	return unpacking{
		unpack: func(archive string) error {
			_, err := try("load", "--quiet", "--input", archive)
			return err
		},
		listed: func() (bool, error) {
			images, err := try("images", "--quiet")
			return strings.TrimSpace(images) != "", err
		},
		end: func() {
			for _, below := range fstest.MountsBelow(t, dir) { // it keeps its directory mounted on itself
				_ = unix.Unmount(below, unix.MNT_DETACH)
			}
		},
	}, nil
}

// cutImageOf makes an image whose files, "layer-N/file-K", are all different.
func cutImageOf(t testing.TB, random *rand.Rand) (img image, files map[string]string) {
	t.Helper()
	files = map[string]string{}
	var layers [][]fstest.Entry
	for n := range cutLayers {
		dir := fmt.Sprintf("layer-%d", n)
		layer := []fstest.Entry{fstest.Dir(dir)}
		for k := range cutFiles {
			content := make([]byte, 1+random.IntN(48<<10))
			for i := range content {
				content[i] = byte(random.Uint32())
			}
			name := fmt.Sprintf("%s/file-%02d", dir, k)
			files[name] = string(content)
			layer = append(layer, fstest.File(name, string(content)))
		}
		layers = append(layers, layer)
	}
	return makeImage(t, layers), files
}

// whole counts the files that are somewhere below dir, in the directory of a
// layer, with their content.
func whole(t testing.TB, dir string, files map[string]string) int {
	t.Helper()
	found := map[string]bool{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what a cut has made unreadable is not there
		}
		name := filepath.Join(filepath.Base(filepath.Dir(path)), e.Name())
		want, ok := files[name]
		if !ok || !e.Type().IsRegular() {
			return nil
		}
		if content, err := os.ReadFile(path); err == nil && string(content) == want {
			found[name] = true
		}
		return nil
	}))
	return len(found)
}

// A cutTally counts what cuts of one kind left.
type cutTally struct {
	name, fs string
	after    time.Duration // since the program has said that the image is there
	cuts     int
	gone     int // cuts after which the program did not know the image, or did not start
	lossy    int // of the others, those that lost files
	most     int // files that one of these lost
}

func (c cutTally) row() string {
	return fmt.Sprintf("| %s | %s | %.0f s | %d | %d | %d | %d of %d |\n",
		c.name, c.fs, c.after.Seconds(), c.cuts, c.gone, c.lossy, c.most, cutLayers*cutFiles)
}

const cutTableHead = `| program | file system | cut after | cuts | image gone | files lost | most files lost |
|---|---|---|---|---|---|---|
`

func TestWhatAPowerCutLeavesOfAnImageThatAnEngineHas(t *testing.T) {
	long := os.Getenv(longEnv) != ""
	random := rand.New(rand.NewPCG(cutSeed(t), 1))
	img, files := image{}, map[string]string{}
	var rows []cutTally
	all := t // whose directory outlives each part's
	for _, u := range unpackers() {
		for _, fs := range cutdisk.FileSystems() {
			if !long && (!u.ours || fs.Name != "ext4") {
				continue
			}
			t.Run(u.name+" on "+fs.Name, func(t *testing.T) {
				requirements(t, u.programs...)
				if len(files) == 0 {
					img, files = cutImageOf(all, random)
				}
				waits, cuts := []time.Duration{0}, 4
				if long {
					// The kernel begins to write after 30 s what nobody has synced.
					waits, cuts = append(waits, 35*time.Second), 10
				}
				rows = append(rows, u.cut(t, fs, img, files, waits, cuts, random)...)
			})
		}
	}
	text := cutTableHead
	for _, r := range rows {
		text += r.row()
	}
	t.Log("\n" + text)
	if *update && long {
		require.Len(t, rows, 2*len(unpackers())*len(cutdisk.FileSystems()), "not every program and file system has run")
		head := fmt.Sprintf("Run on %s with the seed %d.\n\n", time.Now().UTC().Format(time.DateOnly), cutSeed(t))
		require.NoError(t, resultdoc.Replace(durability, cutsTableName, head+text))
	}
}

// cutSeed is that of [seedEnv], or the day.
func cutSeed(t testing.TB) (seed uint64) {
	t.Helper()
	text := os.Getenv(seedEnv)
	if text == "" {
		text = time.Now().UTC().Format("20060102")
	}
	_, err := fmt.Sscan(text, &seed)
	require.NoError(t, err, seedEnv)
	return seed
}

// cut has the program unpack the image on a disk that records, and cuts the
// power so long after it has said that it is there. The first cut of each wait
// loses all that it can.
func (u unpacker) cut(t *testing.T, fs cutdisk.FileSystem, img image, files map[string]string,
	waits []time.Duration, cuts int, random *rand.Rand,
) []cutTally {
	t.Helper()
	fs.MiB = max(fs.MiB, 400) // engines keep the image and their databases there, too
	memory, target := fstest.ScratchSize(t, fstest.Tmpfs, 2048), fstest.ShortDir(t)
	disk := filepath.Join(memory, "image")
	requireOrSkip(t, fs.Make(disk))
	begin, err := cutdisk.ReadState(disk)
	require.NoError(t, err)
	log, ends := u.unpackOn(t, fs, disk, memory, target, img, waits)
	require.NoError(t, os.Remove(disk))

	var tallies []cutTally
	for i, end := range ends {
		tally := cutTally{name: u.name, fs: fs.Name, after: waits[i]}
		for n := range cuts {
			cut := log.CutKeeping(end, 0)
			if n > 0 {
				cut = log.RandomCut(end, fs.Sector, random)
			}
			require.NoError(t, begin.WriteImage(log, cut, disk))
			require.NoError(t, fs.MountImage(disk, target), cut)
			lost := len(files) - whole(t, target, files)
			listed, err := u.lists(t, target)
			require.NoError(t, cutdisk.UnmountImage(disk, target))
			if u.ours {
				require.NoError(t, err, cut)
				require.True(t, listed, "the image is gone, after a cut %v", cut)
				require.Zero(t, lost, "files lost in a cut %v", cut)
			}
			tally.cuts++
			switch {
			case err != nil || !listed:
				t.Logf("%v: image gone: %v", cut, err)
				tally.gone++
			case lost > 0:
				tally.lossy++
				tally.most = max(tally.most, lost)
			}
		}
		tallies = append(tallies, tally)
	}
	return tallies
}

// unpackOn unpacks the image on a disk and returns what reached it, and how
// much of that had so long after the program has said that the image is there.
func (u unpacker) unpackOn(t *testing.T, fs cutdisk.FileSystem, diskImage, memory, target string, img image,
	waits []time.Duration,
) (log *cutdisk.Log, ends []int) {
	t.Helper()
	disk, err := cutdisk.Start(memory, diskImage, cutdisk.Honest)
	requireOrSkip(t, err)
	closed := false
	t.Cleanup(func() {
		if !closed {
			require.NoError(t, disk.Close())
		}
	})
	requireOrSkip(t, fs.MountDevice(disk.Device, target))
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) }) // for a test that fails
	at, err := u.begin(t, target)
	require.NoError(t, err)
	require.NoError(t, at.unpack(img.archive))
	done := time.Now()
	var positions []int64
	for _, wait := range waits {
		time.Sleep(time.Until(done.Add(wait))) // time is what is measured
		position, err := disk.Position()
		require.NoError(t, err)
		positions = append(positions, position)
	}
	at.end()
	require.NoError(t, cutdisk.Unmount(target))
	log, err = disk.Log()
	require.NoError(t, err)
	closed = true
	require.NoError(t, disk.Close())
	for _, position := range positions {
		end, err := log.Index(position)
		require.NoError(t, err)
		ends = append(ends, end)
	}
	return log, ends
}

// lists starts the program on what a cut has left and asks it whether it has
// the image.
func (u unpacker) lists(t *testing.T, target string) (bool, error) {
	t.Helper()
	at, err := u.begin(t, target)
	defer at.end()
	if err != nil {
		return false, err
	}
	return at.listed()
}

// requireOrSkip skips a test for what this machine lacks, and fails it for
// other errors.
func requireOrSkip(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, cutdisk.ErrUnsupported) {
		skip(t, err.Error())
	}
	require.NoError(t, err)
}
