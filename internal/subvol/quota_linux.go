package subvol

import (
	"errors"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Quotas says what a file system counts for its subvolumes.
type Quotas struct {
	// On: there are quota groups.
	On bool
	// Simple: each extent counts for the subvolume that made it, for as long as
	// any has it. Without it the subvolumes that share one are followed.
	Simple bool
	// Inconsistent: the numbers are wrong until a Rescan.
	Inconsistent bool
}

// Types of items in the quota tree, and flags in the first.
const (
	qgroupStatus = 240
	qgroupInfo   = 242
	qgroupLimit  = 244

	statusOn           = 1 << 0
	statusInconsistent = 1 << 2
	statusSimple       = 1 << 3
)

// QuotasOf returns the state of quotas on the file system of f.
func QuotasOf(f *os.File) (q Quotas, err error) {
	err = eachQuota(f, Key{Type: qgroupStatus}, func(i Item) error {
		if len(i.Data) < 24 {
			return corrupt(i.Key, "short status")
		}
		flags := le.Uint64(i.Data[16:])
		q = Quotas{On: flags&statusOn != 0, Simple: flags&statusSimple != 0, Inconsistent: flags&statusInconsistent != 0}
		return nil
	})
	return q, err
}

// eachQuota finds one item of the quota tree; none while quotas are off.
func eachQuota(f *os.File, k Key, visit func(Item) error) error {
	err := Each(f, Query{Tree: QuotaTree, Min: k, Max: k, Few: true}, visit)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// EnableQuota switches quotas on: simple ones need Linux 6.7, and return an
// error matching [errors.ErrUnsupported] before. Others count what there is
// first: it waits for that.
func EnableQuota(f *os.File, simple bool) error {
	args := struct{ cmd, status uint64 }{cmd: 1}
	if simple {
		args.cmd = 4
	}
	err := ioctl(f, "BTRFS_IOC_QUOTA_CTL", request(read|write, 40, unsafe.Sizeof(args)), unsafe.Pointer(&args))
	if simple {
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			err = errors.Join(errors.ErrUnsupported, err)
		}
		return err
	}
	if err != nil {
		return err
	}
	return AwaitRescan(f)
}

// Rescan counts everything anew and waits for the end of it.
func Rescan(f *os.File) error {
	var args [8]uint64 // struct btrfs_ioctl_quota_rescan_args
	err := ioctl(f, "BTRFS_IOC_QUOTA_RESCAN", request(write, 44, unsafe.Sizeof(args)), unsafe.Pointer(&args))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return AwaitRescan(f)
}

// AwaitRescan waits while everything is being counted anew.
func AwaitRescan(f *os.File) error {
	return ioctl(f, "BTRFS_IOC_QUOTA_RESCAN_WAIT", request(none, 46, 0), nil)
}

// NoLimit takes a limit away.
const NoLimit = math.MaxUint64

// limits is struct btrfs_ioctl_qgroup_limit_args; flags say which to set.
type limits struct{ qgroup, flags, max, maxExclusive, reserved, reservedExclusive uint64 }

const (
	limitMax       = 1 << 0
	limitExclusive = 1 << 1
)

func (l limits) set(f *os.File) error {
	return ioctl(f, "BTRFS_IOC_QGROUP_LIMIT", request(read, 43, unsafe.Sizeof(l)), unsafe.Pointer(&l))
}

// Limit sets how many bytes a subvolume may have to itself. It must be on the
// file system of f. Returns ENOTCONN while quotas are off.
func Limit(f *os.File, id, bytes uint64) error {
	return limits{qgroup: id, flags: limitExclusive, maxExclusive: bytes}.set(f)
}

// unlimit takes from the subvolume that f is in every limit, as whoever makes
// one can give it any.
func unlimit(f *os.File) error {
	info, err := InfoOf(f)
	if err != nil {
		return err
	}
	return limits{qgroup: info.ID, flags: limitMax | limitExclusive, max: NoLimit, maxExclusive: NoLimit}.set(f)
}

// A Qgroup says what the quota tree has of a subvolume, as of the last commit.
type Qgroup struct {
	// Exclusive is what the subvolume has to itself, its metadata included; with
	// simple quotas, what was written to it.
	Exclusive uint64
	// Limit is the most that Exclusive may be; 0 for no limit.
	Limit uint64
}

// QgroupOf returns the numbers of a subvolume; ok is false when it has none.
func QgroupOf(f *os.File, id uint64) (q Qgroup, ok bool, err error) {
	err = eachQuota(f, Key{Type: qgroupInfo, Offset: id}, func(i Item) error {
		if len(i.Data) < 32 {
			return corrupt(i.Key, "short numbers")
		}
		ok, q.Exclusive = true, le.Uint64(i.Data[24:])
		return nil
	})
	if err != nil || !ok {
		return q, ok, err
	}
	err = eachQuota(f, Key{Type: qgroupLimit, Offset: id}, func(i Item) error {
		if len(i.Data) < 24 {
			return corrupt(i.Key, "short limit")
		}
		if le.Uint64(i.Data)&limitExclusive != 0 {
			q.Limit = le.Uint64(i.Data[16:])
		}
		return nil
	})
	return q, ok, err
}

// DestroyQgroup removes what is counted for a subvolume that is no more.
// Returns EBUSY while the kernel is still freeing the subvolume; from Linux
// 6.11 on it then removes it by itself. None is no error.
func DestroyQgroup(f *os.File, id uint64) error {
	args := struct{ create, qgroup uint64 }{qgroup: id}
	err := ioctl(f, "BTRFS_IOC_QGROUP_CREATE", request(write, 42, unsafe.Sizeof(args)), unsafe.Pointer(&args))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTCONN) {
		return nil
	}
	return err
}
