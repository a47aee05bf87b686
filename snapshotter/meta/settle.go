package meta

// Settle says that all that the database names was seen to be as it says, and
// gives a stamp for what was looked at beside it. Close leaves both in a mark
// then. The database stays unsettled all the same where rows are unfinished,
// see [DB.Unfinished].
func (db *DB) Settle(stamp string) {
	if db.unfinished.Load() == 0 {
		db.stamp = &stamp
	}
}

// Settled returns the stamp of the last Settle; not ok when the database was
// not closed after that, or is not as it was then.
func (db *DB) Settled() (stamp string, ok bool) {
	if lazy, err := db.guard.lazy(); !lazy || err != nil {
		return "", false
	}
	db.guard.mu.Lock()
	defer db.guard.mu.Unlock()
	return db.guard.sums.mark.Stamp, true
}

// Unfinished returns how many rows are neither ready nor put aside, or have a
// spare layer: those that [Tx.CheckRows] was given, and what transactions have
// made of them since.
func (db *DB) Unfinished() int64 { return db.unfinished.Load() }

// PagesRead returns how many pages of the file were looked at. Where the
// database was settled, opening it looks at few, however many there are.
func (db *DB) PagesRead() int64 { return db.guard.read.Load() }

// isUnfinished reports whether something is left to do for a row when a store
// is opened.
func (s Snapshot) isUnfinished() bool {
	return s.State != Ready && s.State != Aside || s.Spare != ""
}

// count adds a row of the database, or takes it away.
func (tx *Tx) count(s Snapshot, n int64) {
	if s.isUnfinished() {
		tx.unfinished += n
	}
	if s.Store != "" {
		tx.borrowed += n
	}
}
