// Package subvol makes, changes and searches subvolumes of btrfs with nothing
// but ioctl(2): no C library, no program.
//
// It knows neither layers nor paths. A subvolume is named by an open directory,
// or by its name in one; names are single path components and are never
// followed. What somebody hostile put into a subvolume cannot lead out of it.
//
//	err := subvol.Snapshot(parent, dir, "vol")
//	ids, err := subvol.DestroyAll(dir, "vol")
package subvol
