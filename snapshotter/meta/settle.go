package meta

// Settle says that everything the database names was checked and is there.
// stamp describes what was checked outside of the database. Close then writes a
// mark with both. Settle does nothing when rows are unfinished, see
// [DB.Unfinished].
func (db *DB) Settle(stamp string) {
	if db.unfinished.Load() == 0 {
		db.stamp = &stamp
	}
}

// Settled returns the stamp of the last Settle. ok is false when the database
// was not closed after that, or has changed since then.
func (db *DB) Settled() (stamp string, ok bool) {
	if lazy, err := db.guard.lazy(); !lazy || err != nil {
		return "", false
	}
	db.guard.mu.Lock()
	defer db.guard.mu.Unlock()
	return db.guard.sums.mark.Stamp, true
}

// Unfinished returns the number of rows that are pending or removing or have a
// spare layer. It counts the rows that [Tx.CheckRows] got, and the changes of
// transactions since then.
func (db *DB) Unfinished() int64 { return db.unfinished.Load() }

// PagesRead returns the number of pages of the file that were looked at.
// Opening a settled database looks at a few pages, for any size of the file.
func (db *DB) PagesRead() int64 { return db.guard.read.Load() }

// isUnfinished reports whether opening a store has something left to do for the
// row.
func (s Snapshot) isUnfinished() bool {
	return s.State != Ready && s.State != Aside || s.Spare != ""
}

// count adds n for a row to the numbers of unfinished and borrowed rows. n is 1
// for a row that is added, and -1 for a row that is removed.
func (tx *Tx) count(s Snapshot, n int64) {
	if s.isUnfinished() {
		tx.unfinished += n
	}
	if s.Store != "" {
		tx.borrowed += n
	}
}
