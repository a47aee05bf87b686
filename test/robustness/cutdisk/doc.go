// Package cutdisk makes a block device that remembers every write and every
// flush, and gives the disk as it may be after a power cut at any moment. It is
// for tests only.
//
// The device is a loop device over the one file of a FUSE file system. A
// process of its own serves that file: it appends what the kernel asks for to a
// log before it answers, so what a program was told to be on the disk is in the
// log when the program hears of it. The loop device uses direct I/O, so that no
// cache is in between and a flush of the block layer arrives as an fsync of the
// file. Nothing but FUSE and loop devices is needed of the kernel.
//
// The serving process is this program, started again: [Main] must be called
// first in TestMain.
//
//	d, err := cutdisk.Start(dir, image, cutdisk.Honest)
//	mount(d.Device, target)
//	...
//	acknowledged, err := d.Position()
//	...
//	log, err := d.Log()
//	left := log.Tail(acknowledged) // the writes that a cut now may lose
package cutdisk
