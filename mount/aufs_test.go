package mount

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// aufsOf is a writable aufs of n branches, named /b0 and so on.
func aufsOf(n int) Mount {
	m := Mount{Type: "aufs", Source: "label", Options: []string{"dio"}, AUFS: &AUFS{XINO: "/run/x"}}
	for i := range n {
		m.AUFS.Branches = append(m.AUFS.Branches, Branch{Path: fmt.Sprintf("/b%d", i), Writable: i == 0})
	}
	return m
}

// appending is a remount that adds the branches /PREFIX0 and so on.
func appending(prefix string, n int) Mount {
	m := Mount{Type: "aufs", Source: "label", AUFS: &AUFS{Append: true}}
	for i := range n {
		m.AUFS.Branches = append(m.AUFS.Branches, Branch{Path: fmt.Sprintf("/%s%d", prefix, i)})
	}
	return m
}

func isRefusal(err error) bool { return errors.Is(err, ErrUnsupported) || errors.Is(err, ErrTooLong) }

func readOnly(m Mount) Mount {
	m.ReadOnly = true
	m.AUFS.Branches[0].Writable = false
	return m
}

func TestAnAUFSIsRenderedForMount8(t *testing.T) {
	first, more := aufsOf(3), appending("more", 2)
	require.Equal(t, []string{"rw", "br:/b0=rw:/b1=ro+wh:/b2=ro+wh", "dio", "xino=/run/x"}, first.Strings())
	require.Equal(t, "LIBMOUNT_FORCE_MOUNT2=always mount -i -t aufs -o rw,br:/b0=rw:/b1=ro+wh:/b2=ro+wh,dio,xino=/run/x label /mnt",
		first.Command("/mnt"))
	require.Equal(t, []string{"remount", "rw", "append:/more0=ro+wh", "append:/more1=ro+wh"}, more.Strings())
	require.Equal(t, "LIBMOUNT_FORCE_MOUNT2=always mount -i -t aufs -o remount,rw,append:/more0=ro+wh,append:/more1=ro+wh label '/my mnt'",
		more.Command("/my mnt"))
	require.Equal(t, []string{"ro", "br:/b0=ro+wh", "dio", "xino=/run/x"}, readOnly(aufsOf(1)).Strings())
}

func TestWhatTheKernelTakesIsNotRefused(t *testing.T) {
	ro := appending("m", 84)
	ro.ReadOnly = true
	for name, list := range map[string][]Mount{
		"one branch":                   {aufsOf(1)},
		"82 branches and two options":  {aufsOf(82)},
		"127 branches":                 {aufsOf(43), appending("m", 84)},
		"read-only":                    {readOnly(aufsOf(43)), ro},
		"several remounts":             {aufsOf(1), appending("x", 2), appending("y", 3)},
		"two of them":                  {aufsOf(1), appending("x", 2), aufsOf(1), appending("x", 3)},
		"as many bytes as fit":         {longest(0)},
		"beside mounts of other types": {{Type: "bind", Source: "/x"}, aufsOf(1), appending("x", 2)},
		"branches with common names": {aufsOf(1), {Type: "aufs", AUFS: &AUFS{Append: true, Branches: []Branch{
			{Path: "/a"}, {Path: "/a.b"}, {Path: "/a b"}, {Path: "/a+b"}, {Path: "/ab/c"}, {Path: "/aü"},
		}}}},
	} {
		require.NoError(t, checkList(list), name)
	}
}

// longest is one branch whose data is one page with its NUL, and over bytes
// more.
func longest(over int) Mount {
	m := aufsOf(1)
	m.AUFS.Branches[0].Path = "/"
	n := MaxAUFSData - len(joinOptions(m.AUFS.options(m.Options))) + over
	m.AUFS.Branches[0].Path = "/" + strings.Repeat("n", n)
	return m
}

// TestWhatWouldCrashTheKernelIsRefused holds for each mount by itself, too: it
// is the last check before the system call.
func TestWhatWouldCrashTheKernelIsRefused(t *testing.T) {
	for name, change := range map[string]func(m *Mount){
		"85 slots":             func(m *Mount) { *m = aufsOf(83) },
		"4096 bytes":           func(m *Mount) { *m = longest(1) },
		"no branches":          func(m *Mount) { m.AUFS.Branches = nil },
		"no aufs at all":       func(m *Mount) { m.AUFS = nil },
		"85 appended":          func(m *Mount) { *m = appending("m", 85) },
		"an append of nothing": func(m *Mount) { *m = appending("m", 2); m.AUFS.Branches[1].Path = "" },
		"an append without branches": func(m *Mount) {
			*m = appending("m", 0)
		},
		"a writable append":          func(m *Mount) { *m = appending("m", 1); m.AUFS.Branches[0].Writable = true },
		"an append with options":     func(m *Mount) { *m = appending("m", 1); m.Options = []string{"dio"} },
		"an append with xino":        func(m *Mount) { *m = appending("m", 1); m.AUFS.XINO = "/run/x" },
		"two writable branches":      func(m *Mount) { m.AUFS.Branches[1].Writable = true },
		"no writable branch":         func(m *Mount) { m.AUFS.Branches[0].Writable = false },
		"a writable branch, though":  func(m *Mount) { m.ReadOnly = true },
		"a relative path":            func(m *Mount) { m.AUFS.Branches[1].Path = "b" },
		"dots":                       func(m *Mount) { m.AUFS.Branches[1].Path = "/x/../b" },
		"a slash at the end":         func(m *Mount) { m.AUFS.Branches[1].Path = "/x/" },
		"the root":                   func(m *Mount) { m.AUFS.Branches[1].Path = "/" },
		"a colon":                    func(m *Mount) { m.AUFS.Branches[1].Path = "/a:b" },
		"a comma":                    func(m *Mount) { m.AUFS.Branches[1].Path = "/a,b" },
		"an equals sign":             func(m *Mount) { m.AUFS.Branches[1].Path = "/a=b" },
		"a backslash":                func(m *Mount) { m.AUFS.Branches[1].Path = `/a\b` },
		"a newline":                  func(m *Mount) { m.AUFS.Branches[1].Path = "/a\nb" },
		"a NUL":                      func(m *Mount) { m.AUFS.Branches[1].Path = "/a\x00b" },
		"a relative xino":            func(m *Mount) { m.AUFS.XINO = "x" },
		"a comma in xino":            func(m *Mount) { m.AUFS.XINO = "/run/a,b" },
		"an empty option":            func(m *Mount) { m.Options = append(m.Options, "") },
		"options in one":             func(m *Mount) { m.Options = []string{"dio,append:"} },
		"branches among the options": func(m *Mount) { m.Options = []string{"append:/x"} },
		"xino among the options":     func(m *Mount) { m.Options = []string{"xino=/x"} },
		"aufs of another type":       func(m *Mount) { m.Type = "bind" },
	} {
		m := aufsOf(2)
		change(&m)
		err := m.check()
		if err == nil {
			t.Errorf("%s was not refused", name)
			continue
		}
		require.True(t, isRefusal(err), "%s: %v", name, err)
	}
}

func TestListsThatDoNotBelongTogetherAreRefused(t *testing.T) {
	inOther := appending("b0/x", 1) // /b0/x0
	for name, list := range map[string][]Mount{
		"128 branches":                   {aufsOf(43), appending("m", 84), appending("n", 1)},
		"a remount of nothing":           {appending("m", 1)},
		"a remount of a bind":            {{Type: "bind", Source: "/x"}, appending("m", 1)},
		"a remount that makes it ro":     {aufsOf(1), readOnly(appending("m", 1))},
		"a remount that makes it rw":     {readOnly(aufsOf(1)), appending("m", 1)},
		"a branch twice":                 {aufsOf(1), appending("b", 1)},
		"a branch in a branch":           {aufsOf(1), inOther},
		"a branch around a branch":       {aufsOf(1), {Type: "aufs", AUFS: &AUFS{Append: true, Branches: []Branch{{Path: "/c/d"}, {Path: "/c"}}}}},
		"xino in a branch":               {aufsOf(1), {Type: "aufs", AUFS: &AUFS{Append: true, Branches: []Branch{{Path: "/run"}}}}},
		"a bad one after two good ones":  {aufsOf(1), appending("m", 1), appending("n", 85)},
		"a bad one before two good ones": {aufsOf(90), appending("m", 1), appending("n", 8)},
	} {
		require.True(t, isRefusal(checkList(list)), name)
	}
}

func TestABranchAroundOrBelowTheMountPointIsRefused(t *testing.T) {
	for target, ok := range map[string]bool{
		"/b0": false, "/b1/x/y": false, "/": false, "/b": true, "/b0x": true, "/x/b0": true,
	} {
		err := checkTarget([]Mount{aufsOf(2)}, target)
		require.Equal(t, ok, err == nil, target)
	}
}
