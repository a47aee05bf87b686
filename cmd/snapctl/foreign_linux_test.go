package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep"
	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// What a layer holds need not be UTF-8, and is in the warnings about it.
func TestWarningsWithAnyBytesComeThroughAService(t *testing.T) {
	link := fstest.Symlink("link", "target")
	link.Xattrs = map[string]string{"user.\xff\xfe": "x"}
	layer := fstest.Layer(t, link)
	said := func(serve bool) string {
		dir := demoStore(t)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "layer.tar"), layer, 0o600))
		if serve {
			serveStore(t, dir)
		}
		mustRun(t, dir, "prepare", "work")
		code, out, errs := runStory(t.Context(), dir, strings.NewReader(""), "apply", "work", filepath.Join(dir, "layer.tar"))
		require.Equal(t, exitDone, code, errs)
		return regexp.MustCompile(`time=\S+ `).ReplaceAllString(out+errs, "")
	}
	here := said(false)
	require.Contains(t, here, "extended attribute")
	require.Equal(t, here, said(true))
}

func TestARecordThatNobodyCanReadIsForgotten(t *testing.T) {
	for name, note := range map[string]string{"other fields": `{"x": 1}`, "other types": `{"target": 5, "view": "yes"}`} {
		t.Run(name, func(t *testing.T) {
			dir := demoStore(t)
			s := serveStore(t, dir)
			c, err := client.Dial(t.Context(), s.address)
			require.NoError(t, err)
			defer c.Close()
			require.NoError(t, c.PutMountRecord(t.Context(), layerkeep.MountRecord{Name: "bad", JSON: []byte(note)}))
			target := filepath.Join(dir, "m")
			before := mustRun(t, dir, "ls")
			require.NotContains(t, before, "bad")
			mustRun(t, dir, "gc")
			notes, err := c.MountRecords(t.Context())
			require.NoError(t, err)
			require.Empty(t, notes)

			require.NoError(t, c.PutMountRecord(t.Context(), layerkeep.MountRecord{Name: "bad", JSON: []byte(note)}))
			mustRun(t, dir, "mount", demoRef, target)
			mustRun(t, dir, "umount", target)
			require.Equal(t, before, mustRun(t, dir, "ls"))
		})
	}
}

func TestTheServiceInAnotherUsersStoreIsNotFollowed(t *testing.T) {
	dir := demoStore(t)
	s := serveStore(t, dir)
	root := filepath.Join(dir, "store")
	if err := os.Chown(root, 65534, -1); err != nil {
		t.Skipf("directories cannot be given away: %v", err)
	}
	code, _, errs := runStory(t.Context(), dir, strings.NewReader(""), "ls")
	require.Equal(t, exitState, code, errs)
	require.Contains(t, errs, "user 65534")
	mustRun(t, dir, "--address", s.address, "ls")
	require.NoError(t, os.Chown(root, os.Geteuid(), -1))
	mustRun(t, dir, "ls")
}
