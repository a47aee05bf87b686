package service

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/internal/service/metrics"
	"github.com/layerkeep/layerkeep/internal/service/storeservice"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

const (
	// checkRecords is the kind of the records that keep the last result of each
	// kind of check, so that a restart neither forgets it nor begins a new one.
	checkRecords = "checks"
	// checkAgain is how long a service waits after a check that failed.
	checkAgain = time.Hour
	// maxLoggedFindings bounds what one check says in the log.
	maxLoggedFindings = 100
)

// firstCheck is how long a service runs before it checks the store by itself:
// engines have other things to do first. A test does not wait for it.
var firstCheck = time.Minute

// regularChecks are what the checks that the service makes by itself need.
type regularChecks struct {
	store *storeservice.Service
}

func checkName(readData bool) string {
	if readData {
		return "data"
	}
	return "quick"
}

// checked keeps the result of a check of the whole store, and shows it.
func (s *Server) checked(c storeservice.Checked) {
	last := metrics.LastCheck{
		ReadData: c.ReadData, Ended: time.Now().UTC().Round(0), Seconds: c.Duration.Seconds(),
		Findings: c.Summary.Findings, Changed: c.Summary.Changed, Bytes: c.Summary.Bytes,
	}
	s.metrics.ObserveCheck(metrics.Check{Last: last, Err: c.Err})
	if c.Err != nil {
		return
	}
	err := s.store.DB().Update(func(tx *meta.Tx) error { return tx.PutRecord(checkRecords, checkName(c.ReadData), last) })
	if err != nil {
		s.log.Warn("the result of a check is not kept for the next start", "error", err)
	}
}

// lastCheck returns the result of the last check of a kind; not ok without one.
func (s *Server) lastCheck(readData bool) (last metrics.LastCheck, ok bool) {
	err := s.store.DB().View(func(tx *meta.Tx) error {
		return tx.WalkRecords(checkRecords, func(name string, raw json.RawMessage) error {
			if name == checkName(readData) {
				ok = json.Unmarshal(raw, &last) == nil && last.ReadData == readData
			}
			return nil
		})
	})
	return last, ok && err == nil
}

// checkRegularly shows the results of earlier checks, and checks the store as
// the configuration says until ctx ends.
func (s *Server) checkRegularly(ctx context.Context) {
	for _, readData := range []bool{false, true} {
		if last, ok := s.lastCheck(readData); ok {
			s.metrics.ShowCheck(last)
		}
	}
	every := time.Duration(s.config.Checks.Every)
	if every <= 0 {
		return
	}
	timer := time.NewTimer(max(s.untilCheck(every), min(every, firstCheck)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := s.checkNow(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.log.WarnContext(ctx, "the store was not checked", "error", err, "again", min(every, checkAgain))
			timer.Reset(min(every, checkAgain))
			continue
		}
		timer.Reset(every)
	}
}

// untilCheck is how long it is until the next check is due: not at all after a
// clock that was set back, or where one was cut short.
func (s *Server) untilCheck(every time.Duration) time.Duration {
	if len(s.toResume(s.config.Checks.ReadData, every).After) > 0 {
		return 0
	}
	last, ok := s.lastCheck(s.config.Checks.ReadData)
	if since := time.Since(last.Ended); ok && since >= 0 {
		return max(0, every-since)
	}
	return 0
}

// checkNow checks the store and logs what it finds.
func (s *Server) checkNow(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil { // damage must not end the service
			err = fmt.Errorf("a check ended in a panic: %v", p)
		}
	}()
	if err := s.guard.check(); err != nil {
		return err
	}
	c := s.config.Checks
	s.log.InfoContext(ctx, "checking the store", "read-data", c.ReadData, "rate", c.Rate.String())
	start, found := time.Now(), 0
	sum, err := s.runResumable(ctx, check.Options{ReadData: c.ReadData}, int64(c.Rate), time.Duration(c.Every), func(f check.Finding) {
		if found++; found <= maxLoggedFindings {
			s.logFinding(ctx, f)
		}
	})
	if err != nil {
		return err
	}
	if found > maxLoggedFindings {
		s.log.WarnContext(ctx, "the check has found more than the log has", "findings", found, "command", "snapctl check")
	}
	s.log.InfoContext(ctx, "checked the store", "findings", sum.Findings, "snapshots", sum.Snapshots, "images", sum.Images,
		"bytes", sum.Bytes, "changed", sum.Changed, "duration", time.Since(start))
	return nil
}

func (s *Server) logFinding(ctx context.Context, f check.Finding) {
	s.log.WarnContext(ctx, "the store is damaged", "finding", f.String(), "images", f.Images,
		"command", "snapctl repair --read-data --dry-run, while the service is stopped")
}
