// Package layerkeep keeps container image layers on disk and hands engines a
// mounted root filesystem.
//
// A [Store] is the front door: [Open] opens one in a directory, and package client uses one that a
// service has open, with the same methods. Behind it, the contract that every storage backend
// fulfils is in package driver, the backends are overlay2, btrfs, vfs and aufs, the life cycle on top
// of them is package snapshotter, and images are package image. The command in cmd/snapctl puts all
// of it in one static binary. ARCHITECTURE.md is the map.
package layerkeep
