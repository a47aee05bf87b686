package service

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/service/config"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// systemd receives what a service tells it.
func systemd(t *testing.T) <-chan string {
	t.Helper()
	path := filepath.Join(fstest.ShortDir(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	t.Setenv("NOTIFY_SOCKET", path)
	told := make(chan string, 64)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			told <- string(buf[:n])
		}
	}()
	return told
}

func hear(t *testing.T, told <-chan string) string {
	t.Helper()
	select {
	case text := <-told:
		return text
	case <-time.After(fstest.Patience):
		require.Fail(t, "systemd was told nothing")
		return ""
	}
}

func TestARunTellsSystemdReloadsAndHoldsTheStore(t *testing.T) {
	if !fstest.CanOwn(t, t.TempDir()) {
		t.Skip("files cannot be given to root here, so that no store can be made")
	}
	told := systemd(t)
	t.Setenv("WATCHDOG_USEC", "200000")
	dir := fstest.ShortDir(t)
	c := config.Default()
	c.Root, c.Driver, c.Address = filepath.Join(dir, "root"), "vfs", filepath.Join(dir, "s.sock")
	c.LogFile = filepath.Join(dir, "log")
	c.MetricsAddress = filepath.Join(dir, "m.sock")
	logs, err := OpenLogs(c, nil)
	require.NoError(t, err)
	reload := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	changed := c
	changed.LogLevel, changed.MaxStreams = "debug", 5
	go func() {
		done <- Run(ctx, RunOptions{
			Options: Options{Config: c, Version: "v1"}, Logs: logs, Reload: reload,
			Read: func() (config.Config, error) { return changed, nil },
		})
	}()
	require.Equal(t, "READY=1", hear(t, told))
	connects(t, c.Address)
	connects(t, c.MetricsAddress)

	_, err = snapshotter.Open(t.Context(), c.Root, snapshotter.Options{LockTimeout: -1})
	require.ErrorIs(t, err, snapshotter.ErrLocked)
	require.ErrorContains(t, err, c.Address)
	require.Equal(t, "WATCHDOG=1", hear(t, told))

	require.NoError(t, os.Rename(c.LogFile, c.LogFile+".1"))
	reload <- struct{}{}
	var heard []string
	for len(heard) == 0 || heard[len(heard)-1] != "READY=1" {
		heard = append(heard, hear(t, told))
	}
	require.True(t, slices.ContainsFunc(heard, func(text string) bool {
		return strings.HasPrefix(text, "RELOADING=1\nMONOTONIC_USEC=")
	}), heard)
	log, err := os.ReadFile(c.LogFile)
	require.NoError(t, err)
	require.Contains(t, string(log), "taken=[log-level]")
	require.Contains(t, string(log), "settings=[max-streams]")
	require.True(t, logs.Enabled(ctx, -4), "the level changed")

	cancel()
	for text := ""; text != "STOPPING=1"; {
		text = hear(t, told)
	}
	require.NoError(t, <-done)
	require.NoError(t, logs.Close())
	require.NoFileExists(t, c.Address)
	store, err := snapshotter.Open(t.Context(), c.Root, snapshotter.Options{LockTimeout: -1})
	require.NoError(t, err, "the store is free again")
	require.NoError(t, store.Close())
}

func TestARunWhoseAddressIsTakenLeavesTheStoreFree(t *testing.T) {
	if !fstest.CanOwn(t, t.TempDir()) {
		t.Skip("files cannot be given to root here, so that no store can be made")
	}
	dir := fstest.ShortDir(t)
	c := config.Default()
	c.Root, c.Driver, c.Address = filepath.Join(dir, "root"), "vfs", filepath.Join(dir, "s.sock")
	listening(t, c.Address)
	require.ErrorIs(t, Run(t.Context(), RunOptions{Options: Options{Config: c}}), ErrAddressInUse)
	store, err := snapshotter.Open(t.Context(), c.Root, snapshotter.Options{LockTimeout: -1})
	require.NoError(t, err)
	require.NoError(t, store.Close())
}

// given are listeners as systemd would have opened them.
func given(t *testing.T, names ...string) *Activation {
	t.Helper()
	a := &Activation{names: names}
	for range names {
		l, err := net.Listen("unix", filepath.Join(fstest.ShortDir(t), "given"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() }) // closed by most tests
		a.listeners = append(a.listeners, l)
	}
	return a
}

func TestSocketsOfSystemdAreTakenByNameAndElseInOrder(t *testing.T) {
	dir := fstest.ShortDir(t)
	c := config.Default()
	c.Address = filepath.Join(dir, "s.sock")
	c.Engines = map[string]string{"second": filepath.Join(dir, "e.sock")}
	c.Graphdrivers, c.GraphdriverDir = []string{"lk"}, dir
	for name, test := range map[string]struct {
		names []string
		// want are the indices of the given sockets for the default one, the
		// engine and the plugin; -1: one of our own.
		want [3]int
	}{
		"nothing given":             {nil, [3]int{-1, -1, -1}},
		"the name of a socket unit": {[]string{"layerkeep.socket"}, [3]int{0, -1, -1}},
		"all by name":               {[]string{"graphdriver-lk", "address", "engine-second"}, [3]int{1, 2, 0}},
		"one by name":               {[]string{"engine-second"}, [3]int{-1, 0, -1}},
		"by name, then by order":    {[]string{"engine-second", "x", "y"}, [3]int{1, 0, 2}},
		"the same name twice":       {[]string{"address", "address"}, [3]int{0, 1, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			a := given(t, test.names...)
			addresses := make([]string, len(a.listeners))
			for i, l := range a.listeners {
				addresses[i] = l.Addr().String()
			}
			main := a.MainAddress(c)
			s, err := OpenSockets(c, a, nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			ours := []string{c.Address, c.Engines["second"], filepath.Join(dir, "lk.sock")}
			for i, got := range []net.Listener{s.Main, s.Engines["second"], s.Graphdrivers["lk"]} {
				want := ours[i]
				if test.want[i] >= 0 {
					want = addresses[test.want[i]]
				}
				require.Equal(t, want, got.Addr().String())
			}
			require.Equal(t, s.Main.Addr().String(), main)
		})
	}
}

func TestASocketOfSystemdThatNothingIsConfiguredForIsRefused(t *testing.T) {
	c := config.Default()
	c.Address = filepath.Join(fstest.ShortDir(t), "s.sock")
	_, err := OpenSockets(c, given(t, "address", "engine-missing"), nil)
	require.ErrorIs(t, err, config.ErrInvalid)
	require.ErrorContains(t, err, "engine-missing")
	require.NoFileExists(t, c.Address)
}

func TestASocketThatOthersCanReachIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	c := config.Default()
	c.Address = filepath.Join(fstest.ShortDir(t), "s.sock")
	_, err = OpenSockets(c, &Activation{names: []string{"x"}, listeners: []net.Listener{l}}, nil)
	require.ErrorContains(t, err, "others can reach")
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}
