package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// editRecords changes the mount records of a store, as if time had passed.
func editRecords(t *testing.T, dir string, edit func(*mountRecord)) {
	t.Helper()
	a := &app{streams: streams{Err: io.Discard}, global: globalOptions{root: filepath.Join(dir, "store")}}
	require.NoError(t, a.setUpForTest())
	require.NoError(t, a.withStore(t.Context(), func(st *store) error {
		records, err := st.mountRecords(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, records)
		for _, r := range records {
			edit(&r)
			require.NoError(t, st.putMountRecord(t.Context(), r))
		}
		return nil
	}))
}

func (a *app) setUpForTest() error {
	a.global.logLevel, a.logOut = "error", &swapWriter{w: a.Err}
	return a.setUp()
}

func TestAfterARebootNothingIsMounted(t *testing.T) {
	for _, next := range [][]string{{"umount", "m"}, {"gc"}, {"mount", demoRef, "m"}, {"rm", "work"}} {
		t.Run(next[0], func(t *testing.T) {
			dir := demoStore(t)
			target := filepath.Join(dir, "m")
			mustRun(t, dir, "mount", "--rw", "work", demoRef, target)
			require.NoError(t, mount.Unmount(target))
			editRecords(t, dir, func(r *mountRecord) { r.Where.Boot = "another boot" })
			require.NotContains(t, mustRun(t, dir, "ls"), target)
			for i, arg := range next {
				if arg == "m" {
					next[i] = target
				}
			}
			mustRun(t, dir, next...)
		})
	}
}

func TestAViewWhoseMountTheRebootTookIsDropped(t *testing.T) {
	dir := demoStore(t)
	target := filepath.Join(dir, "m")
	before := mustRun(t, dir, "--json", "ls")
	mustRun(t, dir, "mount", demoRef, target)
	require.NoError(t, mount.Unmount(target))
	editRecords(t, dir, func(r *mountRecord) { r.Where.Boot = "another boot" })
	require.Contains(t, mustRun(t, dir, "gc"), "forgot 1 mount")
	require.Equal(t, before, mustRun(t, dir, "--json", "ls"))
}

// A crash between the record and the mount leaves a record without a mount ID.
func TestAMountThatACrashInterruptedIsForgotten(t *testing.T) {
	dir := demoStore(t)
	target := filepath.Join(dir, "m")
	before := mustRun(t, dir, "--json", "ls")
	mustRun(t, dir, "mount", demoRef, target)
	require.NoError(t, mount.Unmount(target))
	editRecords(t, dir, func(r *mountRecord) { r.Where.ID = 0 })
	mustRun(t, dir, "gc")
	require.Equal(t, before, mustRun(t, dir, "--json", "ls"))
}

func TestAMountOfAnotherNamespaceIsInUseUntilTheNamespaceEnds(t *testing.T) {
	dir := demoStore(t)
	target := filepath.Join(dir, "m")
	mustRun(t, dir, "mount", "--rw", "work", demoRef, target)

	pid, end := fstest.Elsewhere(t, "")
	other, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	require.NoError(t, err)
	require.NoError(t, mount.Unmount(target))
	editRecords(t, dir, func(r *mountRecord) { r.Where.Namespace = other })

	code, _, errs := runStory(context.Background(), dir, nil, "umount", target)
	require.Equal(t, exitState, code)
	require.Contains(t, errs, "another mount namespace")
	code, _, _ = runStory(context.Background(), dir, nil, "rm", "work")
	require.Equal(t, exitState, code)

	end()
	mustRun(t, dir, "rm", "work")
}

func TestAFailedMountLeavesNeitherRecordNorSnapshot(t *testing.T) {
	dir := demoStore(t)
	before := mustRun(t, dir, "--json", "ls")
	a := &app{streams: streams{Err: io.Discard}, global: globalOptions{root: filepath.Join(dir, "store")}}
	require.NoError(t, a.setUpForTest())
	for _, rw := range []string{"", "work"} {
		err := a.withStore(t.Context(), func(st *store) error {
			// Past mountTarget's checks: the mount itself has to fail.
			_, err := st.mount(t.Context(), mountOptions{name: demoRef, target: filepath.Join(dir, "demo.tar"), rw: rw})
			return err
		})
		require.ErrorIs(t, err, mount.ErrNotDirectory)
	}
	require.Equal(t, before, mustRun(t, dir, "--json", "ls"))
	require.Contains(t, mustRun(t, dir, "gc"), "forgot 0 mounts")
}

func TestTheKernelsEscapesOfAMountPointAreUndone(t *testing.T) {
	for text, want := range map[string]string{
		"/mnt":            "/mnt",
		`/a\040b`:         "/a b",
		`/a\011\012\134b`: "/a\t\n\\b",
		`/a\04`:           `/a\04`,
		`/a\999`:          `/a\999`,
		`\`:               `\`,
		`/x\134040`:       `/x\040`,
	} {
		require.Equal(t, want, unescapeOctal(text))
	}
}
