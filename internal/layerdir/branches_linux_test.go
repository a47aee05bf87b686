package layerdir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
)

// aufsTable is a mount table of a kernel with aufs: a container, a read-only
// mount of an image, an aufs with brs=1, and one whose directory in sysfs is
// already gone.
const aufsTable = `21 1 0:20 / / rw shared:1 - ext4 /dev/vda rw
31 21 0:31 / /mnt/c1 rw,relatime - aufs none rw,si=c0ffee01,dio,dirperm1
32 21 0:32 / /mnt/image ro,relatime - aufs label ro,si=c0ffee02
33 21 0:33 / /mnt/brs rw,relatime - aufs none rw,br:/s/diff/c3=rw:/s/diff/base=ro+wh
34 21 0:34 / /mnt/gone rw,relatime - aufs none rw,si=c0ffee04
35 21 0:35 / /mnt/bind ro,relatime - aufs none rw,si=c0ffee05
`

func TestABranchIsFoundInSysfsByTheNumberInTheMountTable(t *testing.T) {
	sysfs := t.TempDir()
	for id, branches := range map[string][]string{
		"c0ffee01": {"/s/diff/c1=rw", "/s/diff/c1-init=ro+wh", "/s/diff/base=ro+wh"},
		"c0ffee02": {"/s/diff/image=ro+wh", "/s/diff/base=ro+wh"},
		"c0ffee05": {"/s/diff/c5=rw"},
		// Mounted in another namespace.
		"c0ffee07": {"/s/diff/c7=rw", "/s/diff/c8=ro+wh", "/s/diff/base=ro+wh"},
	} {
		dir := filepath.Join(sysfs, "si_"+id)
		require.NoError(t, os.Mkdir(dir, 0o700))
		for i, b := range branches {
			n := string(rune('0' + i))
			require.NoError(t, os.WriteFile(dir+"/br"+n, []byte(b+"\n"), 0o600))
			require.NoError(t, os.WriteFile(dir+"/brid"+n, []byte("64\n"), 0o600))
		}
		require.NoError(t, os.WriteFile(dir+"/xi_path", []byte("/s/diff/xi\n"), 0o600))
	}
	table, err := mountinfo.GetMountsFromReader(strings.NewReader(aufsTable), nil)
	require.NoError(t, err)
	for path, want := range map[string]Use{
		"/s/diff/c1":      MountedWritable,
		"/s/diff/c1-init": MountedReadOnly,
		"/s/diff/base":    MountedReadOnly,
		"/s/diff/image":   MountedReadOnly,
		"/s/diff/c3":      MountedWritable,
		"/s/diff/c5":      MountedReadOnly,
		"/s/diff/other":   Unmounted,
		"/s/diff/c":       Unmounted,
		"/s/diff/xi":      Unmounted,
		"64":              Unmounted,
	} {
		use, err := branchUse(table, path, sysfs)
		require.NoError(t, err)
		require.Equal(t, want, use, path)
	}
	for path, want := range map[string]bool{
		"/s/diff/c1": false, // mounted here
		"/s/diff/c7": true,
		"/s/diff/c8": false,
	} {
		elsewhere, err := writableElsewhere(table, path, sysfs)
		require.NoError(t, err)
		require.Equal(t, want, elsewhere, path)
	}
	use, err := branchUse(table, "/s/diff/c1", filepath.Join(sysfs, "missing"))
	require.NoError(t, err)
	require.Equal(t, Unmounted, use, "unmounted while we looked")
}

func TestWithoutAUFSNoDirectoryIsABranch(t *testing.T) {
	use, err := BranchUse(t.TempDir())
	require.NoError(t, err)
	require.Equal(t, Unmounted, use)
}

func TestATextIsCutAtTheLastSeparator(t *testing.T) {
	for text, want := range map[string][]string{"a=b=c": {"a=b", "c"}, "=": {"", ""}, "abc": nil, "": nil} {
		before, after, found := cutLast(text, "=")
		if require.Equal(t, want != nil, found, text); found {
			require.Equal(t, want, []string{before, after}, text)
		} else {
			require.Equal(t, text, before)
		}
	}
}
