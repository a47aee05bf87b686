package service

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/service/config"
	"github.com/layerkeep/layerkeep/internal/service/metrics"
	"github.com/layerkeep/layerkeep/internal/service/storeservice"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// scraped is what Prometheus reads of the service.
func (s *served) scraped() string {
	s.t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", s.config.MetricsAddress)
	}}}
	resp, err := c.Get("http://metrics/metrics")
	require.NoError(s.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return string(raw)
}

// until waits for something.
func (s *served) until(what string, is func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(fstest.Patience)
	for !is() {
		require.True(s.t, time.Now().Before(deadline), "%s\n%s", what, s.log)
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAServiceChecksItsStoreAndTellsOfDamage(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("needs the right to mount")
	}
	root := filepath.Join(t.TempDir(), "store")
	every := func(d time.Duration) func(*config.Config) {
		run := fstest.ShortDir(t)
		return func(c *config.Config) {
			c.MetricsAddress = filepath.Join(run, "m.sock")
			c.Checks.Every = config.Duration(d)
		}
	}
	s := start(t, root, "overlay2", every(time.Second))
	s.layer("victim", "", "f", "x")
	findings := func(n string) func() bool {
		return func() bool {
			return strings.Contains(s.scraped(), `layerkeep_check_last_findings{read_data="true"} `+n+"\n")
		}
	}
	s.until("a sound store is told as such", findings("0"))
	require.NotContains(t, s.log.String(), "the store is damaged")
	layers, err := s.store.Inspect(t.Context())
	require.NoError(t, err)
	for _, l := range layers {
		require.NoError(t, fstest.RemoveAll(filepath.Join(root, "overlay2", string(l.ID))))
	}
	s.until("damage is counted", findings("1"))
	require.Contains(t, s.log.String(), "snapshot @containerd/victim")
	require.Contains(t, s.log.String(), snapshotter.ErrLayerMissing.Error())
	require.Contains(t, s.log.String(), "snapctl repair")
	require.NoError(t, s.stop())

	// After a restart the result is there, and the next check is not due.
	s = start(t, root, "overlay2", every(time.Hour))
	s.until("the last result is kept", findings("1"))
	require.NotContains(t, s.scraped(), "layerkeep_check_runs_total{")
	_, err = s.tool().Check(t.Context(), check.Options{}, 0, func(check.Finding) {})
	require.NoError(t, err)
	require.Contains(t, s.scraped(), `layerkeep_check_last_findings{read_data="false"} 1`, "that of a client counts, too")
	_, err = s.tool().Check(t.Context(), check.Options{Names: []string{"@containerd/victim"}}, 0, func(check.Finding) {})
	require.NoError(t, err)
	require.Contains(t, s.scraped(), `layerkeep_check_runs_total{code="OK"} 1`, "that of a part does not")
}

func TestTheNextCheckIsDueAfterTheLast(t *testing.T) {
	store, err := snapshotter.Open(t.Context(), filepath.Join(t.TempDir(), "store"), snapshotter.Options{Driver: "vfs"})
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	s := &Server{store: store, metrics: metrics.New(metrics.Build{}), config: config.Default()}
	require.Zero(t, s.untilCheck(time.Hour), "there was none")
	s.checked(storeservice.Checked{})
	require.Zero(t, s.untilCheck(time.Hour), "there was none that has read data")
	s.checked(storeservice.Checked{ReadData: true, Err: io.EOF})
	require.Zero(t, s.untilCheck(time.Hour), "it was not complete")
	s.checked(storeservice.Checked{ReadData: true})
	require.Greater(t, s.untilCheck(time.Hour), 50*time.Minute)
	require.Zero(t, s.untilCheck(time.Nanosecond))
	require.NoError(t, store.Close())
}

// A check that takes longer than services live comes to its end nevertheless.
func TestAServiceGoesOnWithACheckThatWasCutShort(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("needs the right to mount")
	}
	root := filepath.Join(t.TempDir(), "store")
	with := func(every time.Duration, rate config.Size) func(*config.Config) {
		run := fstest.ShortDir(t)
		return func(c *config.Config) {
			c.MetricsAddress = filepath.Join(run, "m.sock")
			c.Checks.Every, c.Checks.Rate = config.Duration(every), rate
		}
	}
	s := start(t, root, "overlay2", with(0, 1))
	s.layer("first", "", "f", "")
	s.layer("second", "", "g", strings.Repeat("g", 1<<20))
	layers, err := s.store.Inspect(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.stop())
	for _, l := range layers {
		if l.Name == "@containerd/first" {
			require.NoError(t, fstest.RemoveAll(filepath.Join(root, "overlay2", string(l.ID))))
		}
	}

	firstCheck = time.Millisecond
	t.Cleanup(func() { firstCheck = time.Minute })
	s = start(t, root, "overlay2", with(24*time.Hour, 1)) // the second takes twelve days
	s.until("the first is looked at", func() bool { return strings.Contains(s.log.String(), "snapshot @containerd/first") })
	require.NoError(t, s.stop())

	s = start(t, root, "overlay2", with(24*time.Hour, 1<<30))
	s.until("the check comes to its end", func() bool {
		return strings.Contains(s.scraped(), `layerkeep_check_last_findings{read_data="true"} 1`+"\n")
	})
	require.Contains(t, s.log.String(), "going on with a check that was cut short")
	require.NotContains(t, s.log.String(), "snapshot @containerd/first", "it was told")
	require.NoError(t, s.stop())

	s = start(t, root, "overlay2", with(24*time.Hour, 1))
	s.until("the result is kept", func() bool {
		return strings.Contains(s.scraped(), `layerkeep_check_last_findings{read_data="true"} 1`+"\n")
	})
	require.NotContains(t, s.log.String(), "going on with")
	require.NoError(t, s.stop())
}
