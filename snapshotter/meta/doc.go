// Package meta keeps what a store knows in one bbolt database: snapshots, their
// states and parents, and small JSON records that other packages put in under a
// kind of their own.
//
// It knows no drivers and does no disk work but the database's; callers keep
// transactions short and do theirs outside of them. A transaction is durable
// once [DB.Update] has returned nil.
//
//	err := db.Update(func(tx *meta.Tx) error {
//		return tx.PutRecord("images", "docker.io/library/debian:13", image)
//	})
package meta
