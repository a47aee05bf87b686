package service

import (
	"context"
	"errors"
	"time"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/internal/service/storeservice"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// keepPositionEvery is how often it is kept how far a regular check has come.
const keepPositionEvery = time.Minute

// An unfinished check is one that the end of a service has cut short.
type unfinished struct {
	// After is a [check.Position], as bytes: it need not be UTF-8.
	After   []byte        `json:"after"`
	Kept    time.Time     `json:"kept"`
	Seconds float64       `json:"seconds"`
	Summary check.Summary `json:"summary"`
}

func unfinishedName(readData bool) string { return checkName(readData) + ".unfinished" }

// toResume returns how far the last regular check came, nothing where it came
// to its end. One that was given up so long ago that the next is due begins
// anew: what it has looked at may have rotted since.
func (s *Server) toResume(readData bool, every time.Duration) (u unfinished) {
	err := s.store.DB().View(func(tx *meta.Tx) error {
		return tx.GetRecord(checkRecords, unfinishedName(readData), &u)
	})
	if since := time.Since(u.Kept); err != nil || since < 0 || since > every {
		return unfinished{}
	}
	return u
}

// keepPosition lets the next start go on from where a check is.
func (s *Server) keepPosition(ctx context.Context, readData bool, u unfinished) {
	u.Kept = time.Now().UTC().Round(0)
	err := s.store.DB().Update(func(tx *meta.Tx) error { return tx.PutRecord(checkRecords, unfinishedName(readData), u) })
	if err != nil {
		s.log.WarnContext(ctx, "how far a check has come is not kept for the next start", "error", err)
	}
}

// forgetPosition is for a check that has come to its end.
func (s *Server) forgetPosition(readData bool) error {
	err := s.store.DB().Update(func(tx *meta.Tx) error { return tx.DeleteRecord(checkRecords, unfinishedName(readData)) })
	if errors.Is(err, meta.ErrNotFound) {
		return nil
	}
	return err
}

// runResumable is a regular check, from where the last one was cut short.
func (s *Server) runResumable(ctx context.Context, opts check.Options, rate int64, every time.Duration, found func(check.Finding)) (check.Summary, error) {
	begun := s.toResume(opts.ReadData, every)
	opts.After = check.Position(begun.After)
	if opts.After != "" {
		s.log.InfoContext(ctx, "going on with a check that was cut short", "after", string(opts.After), "findings", begun.Summary.Findings)
	}
	start, last := time.Now(), time.Now()
	now := begun
	opts.Reached = func(at check.Position, sum check.Summary) {
		now = unfinished{After: []byte(at), Seconds: begun.Seconds + time.Since(start).Seconds(), Summary: begun.Summary.Plus(sum)}
		if time.Since(last) >= keepPositionEvery {
			last = time.Now()
			s.keepPosition(ctx, opts.ReadData, now)
		}
	}
	sum, err := s.checks.store.RunCheck(ctx, opts, rate, found)
	if err != nil {
		if string(now.After) != string(begun.After) { // else it would never be too old
			s.keepPosition(ctx, opts.ReadData, now)
		}
		return sum, err
	}
	if opts.After != "" { // it was none of the whole store by itself
		sum = begun.Summary.Plus(sum)
		took := time.Since(start) + time.Duration(begun.Seconds*float64(time.Second))
		s.checked(storeservice.Checked{ReadData: opts.ReadData, Summary: sum, Duration: took})
	}
	return sum, s.forgetPosition(opts.ReadData)
}
