package aufs

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// numbered returns n paths of the given length, which must have room for a
// number.
func numbered(n, length int) []string {
	paths := make([]string, n)
	for i := range paths {
		number := fmt.Sprintf("/%d", i)
		paths[i] = "/" + strings.Repeat("p", length-len(number)-1) + number
	}
	return paths
}

func aUnion(n, length int) union {
	return union{source: "label", branches: numbered(n, length), writable: true, options: []string{"dio", "dirperm1"}, xino: "/run/x.xino"}
}

func TestAUnionIsAMountAndAsFewRemountsAsItTakes(t *testing.T) {
	for name, c := range map[string]struct {
		u       union
		perCall []int
	}{
		"one branch":            {aUnion(1, 10), []int{1}},
		"what one call takes":   {aUnion(81, 10), []int{81}},
		"one more":              {aUnion(82, 10), []int{81, 1}},
		"all that aufs takes":   {aUnion(127, 10), []int{81, 46}},
		"long paths":            {aUnion(127, 300), []int{13, 13, 13, 13, 13, 13, 13, 13, 13, 10}},
		"paths of one each":     {aUnion(3, 4000), []int{1, 1, 1}},
		"fewer options, longer": {union{branches: numbered(127, 10), xino: "/x"}, []int{83, 44}},
	} {
		list, err := c.u.mounts()
		require.NoError(t, err, name)
		var perCall []int
		for _, m := range list {
			perCall = append(perCall, len(m.AUFS.Branches))
		}
		require.Equal(t, c.perCall, perCall, name)
	}
}

func TestAUnionIsWrittenAsTheKernelReadsIt(t *testing.T) {
	u := union{source: "label", branches: []string{"/s/diff/c", "/s/diff/i", "/s/diff/base"}, writable: true, options: []string{"dio"}, xino: "/run/x"}
	list, err := u.mounts()
	require.NoError(t, err)
	require.Equal(t, []mount.Mount{{
		Type: "aufs", Source: "label", Options: []string{"dio"},
		AUFS: &mount.AUFS{XINO: "/run/x", Branches: []mount.Branch{
			{Path: "/s/diff/c", Writable: true}, {Path: "/s/diff/i"}, {Path: "/s/diff/base"},
		}},
	}}, list)
	require.Equal(t, []string{"rw", "br:/s/diff/c=rw:/s/diff/i=ro+wh:/s/diff/base=ro+wh", "dio", "xino=/run/x"}, list[0].Strings())

	u.writable = false
	list, err = u.mounts()
	require.NoError(t, err)
	require.True(t, list[0].ReadOnly)
	require.Equal(t, []string{"ro", "br:/s/diff/c=ro+wh:/s/diff/i=ro+wh:/s/diff/base=ro+wh", "dio", "xino=/run/x"}, list[0].Strings())
}

func TestAUnionThatAUFSCannotBeIsRefused(t *testing.T) {
	for name, change := range map[string]func(u *union){
		"no branches":                 func(u *union) { u.branches = nil },
		"128 branches":                func(u *union) { u.branches = numbered(128, 10) },
		"a relative path":             func(u *union) { u.branches[1] = "diff/x" },
		"no path":                     func(u *union) { u.branches[1] = "" },
		"a path with dots":            func(u *union) { u.branches[1] = "/a/../b" },
		"a path with two slashes":     func(u *union) { u.branches[1] = "/a//b" },
		"the root":                    func(u *union) { u.branches[1] = "/" },
		"a colon":                     func(u *union) { u.branches[1] = "/a:b" },
		"a comma":                     func(u *union) { u.branches[1] = "/a,b" },
		"an equals sign":              func(u *union) { u.branches[1] = "/a=rw" },
		"a backslash":                 func(u *union) { u.branches[1] = `/a\054b` },
		"a quote":                     func(u *union) { u.branches[1] = `/a"b` },
		"a newline":                   func(u *union) { u.branches[1] = "/a\nb" },
		"a NUL":                       func(u *union) { u.branches[1] = "/a\x00" },
		"the same branch twice":       func(u *union) { u.branches[2] = u.branches[0] },
		"a branch in a branch":        func(u *union) { u.branches[2] = u.branches[0] + "/x" },
		"a branch around a branch":    func(u *union) { u.branches[0] = "/ppp"; u.branches[1] = "/ppp/ppp/1" },
		"no xino":                     func(u *union) { u.xino = "" },
		"a relative xino":             func(u *union) { u.xino = "x" },
		"xino in a branch":            func(u *union) { u.xino = u.branches[2] + "/x" },
		"a comma in xino":             func(u *union) { u.xino = "/run/a,b" },
		"an empty option":             func(u *union) { u.options = []string{""} },
		"an option with a value":      func(u *union) { u.options = []string{"xino=/x"} },
		"two options in one":          func(u *union) { u.options = []string{"dio,append:"} },
		"a branch too long by itself": func(u *union) { u.branches[2] = numbered(1, 4090)[0] },
		"no room for the first":       func(u *union) { u.branches[0] = numbered(1, 4060)[0] },
	} {
		u := aUnion(3, 10)
		change(&u)
		_, err := u.mounts()
		require.ErrorIs(t, err, driver.ErrUnsupported, name)
	}
}

// TestNoUnionBreaksALimitOfTheKernel parses the options as the kernel does, and
// does not use the counting code under test.
func TestNoUnionBreaksALimitOfTheKernel(t *testing.T) {
	require.NoError(t, flag.Set("rapid.nofailfile", "true"))
	// Mostly good paths, and sometimes a bad one made of special characters.
	path := rapid.Custom(func(t *rapid.T) string {
		p := "/s/" + rapid.StringMatching(`[a-z0-9]{5,9}`).Draw(t, "name")
		if long := rapid.SampledFrom([]int{0, 0, 0, 40, 250, 1300, 4050}).Draw(t, "long"); long > 0 {
			p += strings.Repeat("/"+strings.Repeat("n", 9), long/10)
		}
		if rapid.IntRange(0, 400).Draw(t, "bad") == 0 {
			p += rapid.SampledFrom([]string{":", ",", "=", "=ro", "/", "/..", "\n", "\\", ""}).Draw(t, "what")
		}
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		u := union{
			source:   "label",
			branches: rapid.SliceOfN(path, 0, 130).Draw(t, "branches"),
			writable: rapid.Bool().Draw(t, "writable"),
			options:  rapid.SliceOfN(rapid.SampledFrom([]string{"dio", "dirperm1", "dirperm2"}), 0, 90).Draw(t, "options"),
			xino:     rapid.SampledFrom([]string{"/run/x", "/dev/shm/y", "/run/x", "/s/a/x", "x"}).Draw(t, "xino"),
		}
		list, err := u.mounts()
		if err != nil {
			return
		}
		if err := readAsKernel(list, u); err != nil {
			t.Fatal(err)
		}
	})
}

// readAsKernel parses the mounts as aufs does. It returns an error for options
// that crash the kernel, are cut, or mean something else than u.
func readAsKernel(list []mount.Mount, u union) error {
	var branches []string
	for i, m := range list {
		opts := m.Strings()
		if remount := opts[0] == "remount"; remount != (i > 0) {
			return fmt.Errorf("call %d: a remount at the wrong place: %v", i, opts)
		} else if remount {
			opts = opts[1:]
		}
		if want := map[bool]string{true: "rw", false: "ro"}[u.writable]; opts[0] != want {
			return fmt.Errorf("call %d: %s instead of %s", i, opts[0], want)
		}
		data := strings.Join(opts[1:], ",")
		if len(data) > 4095 {
			return fmt.Errorf("call %d has %d bytes", i, len(data))
		}
		slots := 0
		for _, o := range strings.Split(data, ",") {
			switch list, isFirst := strings.CutPrefix(o, "br:"); {
			case isFirst && i == 0:
				parts := strings.Split(list, ":")
				branches = append(branches, parts...)
				slots += len(parts)
			case i > 0:
				one, ok := strings.CutPrefix(o, "append:")
				if !ok || one == "" {
					return fmt.Errorf("call %d: %q", i, o)
				}
				branches = append(branches, one)
				slots++
			default:
				slots++
			}
		}
		if slots > 84 {
			return fmt.Errorf("call %d has %d slots", i, slots)
		}
		if i > 0 && slots == 0 {
			return fmt.Errorf("call %d has no slots", i)
		}
	}
	return readBranches(branches, u)
}

func readBranches(branches []string, u union) error {
	if len(branches) > 127 {
		return fmt.Errorf("%d branches", len(branches))
	}
	if len(branches) != len(u.branches) {
		return fmt.Errorf("%d branches instead of %d", len(branches), len(u.branches))
	}
	for i, b := range branches {
		path, perm, ok := strings.Cut(b, "=")
		want := "ro+wh"
		if i == 0 && u.writable {
			want = "rw"
		}
		if !ok || perm != want || path != u.branches[i] || !strings.HasPrefix(path, "/") {
			return fmt.Errorf("branch %d is %q instead of %q", i, b, u.branches[i])
		}
		for j, other := range u.branches {
			if i != j && strings.HasPrefix(other+"/", path+"/") {
				return fmt.Errorf("%q is in %q", other, path)
			}
		}
		if strings.HasPrefix(u.xino+"/", path+"/") || !strings.HasPrefix(u.xino, "/") {
			return fmt.Errorf("xino %q is in %q", u.xino, path)
		}
	}
	return nil
}

func TestXINOGoesWhereItCanLive(t *testing.T) {
	const xfs, btrfs = 0x58465342, 0x9123683e
	branches := []string{"/s/aufs/diff/a"}
	for name, c := range map[string]struct {
		places []xinoPlace
		dir    string
	}{
		"the first place":                 {[]xinoPlace{{"/run", tmpfsMagic}, {"/dev/shm", tmpfsMagic}}, "/run"},
		"not where nobody can write":      {[]xinoPlace{{"/run", 0}, {"/dev/shm", tmpfsMagic}}, "/dev/shm"},
		"not on xfs and btrfs":            {[]xinoPlace{{"/run", xfs}, {"/dev/shm", btrfs}, {"/s", extMagic}}, "/s"},
		"not in a branch":                 {[]xinoPlace{{"/s/aufs/diff/a/x", extMagic}, {"/s", extMagic}}, "/s"},
		"not where the path is a problem": {[]xinoPlace{{"/a,b", extMagic}, {"/s", extMagic}}, "/s"},
	} {
		path, err := chooseXINO(c.places, "label", branches)
		require.NoError(t, err, name)
		require.Equal(t, c.dir, path[:strings.LastIndex(path, "/")], name)
		require.NoError(t, mount.CheckBranchPath(path))
	}
	_, err := chooseXINO([]xinoPlace{{"/run", xfs}, {"/s/aufs/diff/a", extMagic}}, "label", branches)
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.ErrorContains(t, err, "/run")

	one, err := chooseXINO([]xinoPlace{{"/run", tmpfsMagic}}, "one", branches)
	require.NoError(t, err)
	two, err := chooseXINO([]xinoPlace{{"/run", tmpfsMagic}}, "two", branches)
	require.NoError(t, err)
	require.NotEqual(t, one, two, "mounts at the same time do not share one")
}
