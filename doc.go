// Package layerkeep keeps container image layers on disk and hands engines a
// mounted root filesystem.
//
// This package holds no code: it is the front door. The contract every storage
// backend fulfils is in package driver, the backends are overlay2, btrfs, vfs and
// aufs, the life cycle on top of them is package snapshotter, and the snapctl
// command in cmd/snapctl puts all of it in one static binary. ARCHITECTURE.md is
// the map.
package layerkeep
