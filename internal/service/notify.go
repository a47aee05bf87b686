package service

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// What systemd is told, see sd_notify(3).
const (
	notifyReady    = daemon.SdNotifyReady
	notifyStopping = daemon.SdNotifyStopping
	notifyWatchdog = daemon.SdNotifyWatchdog
)

// notifyReloading begins a reload; notifyReady ends it.
func notifyReloading() string {
	return daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec()
}

// notify tells systemd, if it wants to know.
func (s *Server) notify(ctx context.Context, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.WarnContext(ctx, "cannot tell systemd", "state", state, "error", err)
	}
}

// A watchdog knows when systemd wants to hear that we live.
type watchdog struct {
	interval time.Duration
	next     time.Time
}

func newWatchdog() *watchdog {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil || limit == 0 {
		return &watchdog{}
	}
	return &watchdog{interval: limit / 2}
}

func (w *watchdog) due(now time.Time) bool {
	if w.interval == 0 || now.Before(w.next) {
		return false
	}
	w.next = now.Add(w.interval - watchInterval/2)
	return true
}
