// Package bench measures what each storage driver costs: the first write to a
// file of an image (copy-up), inodes and blocks of layers, reading through a
// stack of layers, the life of a container, and whole workloads. It runs every
// driver in one directory, or on small disks of ext4, xfs and btrfs that it
// makes itself.
//
// A [Suite] is a list of cases. A [Case] is measured for each [Subject] on each
// [github.com/layerkeep/layerkeep/bench/disk.Place]. A subject is a driver, a
// driver with other mount options, the bare file system for comparison, or a
// snapshotter of another program. The subjects of a case take turns, round by
// round, so that other load on the machine affects all of them equally.
//
// [Run] returns a [Report] with every sample. Package
// [github.com/layerkeep/layerkeep/bench/report] makes tables, plots and
// comparisons from it.
//
//	report, err := bench.Run(ctx, bench.Options{Scratch: "/var/tmp/bench", Quick: true})
//	err = report.Write(file)
package bench
