// Package meta stores what a store knows in one bbolt database: snapshots,
// their states and parents, and small JSON records. Other packages put such
// records in, each under a kind of its own.
//
// The package knows no drivers, and uses no files except those of the database.
// Callers keep transactions short and do their own work on the disk outside of
// them. A transaction is durable once [DB.Update] has returned nil.
//
//	err := db.Update(func(tx *meta.Tx) error {
//		return tx.PutRecord("images", "docker.io/library/debian:13", image)
//	})
package meta
