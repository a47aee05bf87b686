package vfs

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// NoWriters makes copies of the layer's mounts in other mount namespaces
// read-only. Then it checks every file of the layer, because a file can be open
// for writing through a mount that is gone.
func (d *vfs) NoWriters(ctx context.Context, id driver.ID) error {
	err := d.store.NotWritableElsewhere(ctx, id)
	if err == nil {
		err = layerdir.AwaitNoWriters(ctx, func() error { return d.noOpenFiles(ctx, id) })
	}
	if err != nil {
		return fmt.Errorf("vfs: look for who writes to layer %s: %w", id, err)
	}
	return nil
}

func (d *backend) noOpenFiles(ctx context.Context, id driver.ID) error {
	_, err := layerdir.UsageVisiting(ctx, d.store.Path(id, treeDir), func(dir *rootfd.Dir, name string) error {
		if name == "" {
			return nil // the root directory
		}
		st, err := dir.Lookup(name)
		if errors.Is(err, unix.ENOENT) || err == nil && !st.IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		return notOpenForWriting(dir, name, st.UID)
	})
	return err
}

// notOpenForWriting asks for a lease, which the kernel refuses while the file
// is open for writing. If the file system has no leases, the result is nil.
func notOpenForWriting(dir *rootfd.Dir, name string, owner uint32) error {
	f, err := dir.Open(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := lease(uintptr(f.Fd()), owner); {
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%w: %s/%s is open for writing", driver.ErrBusy, dir.Path(), name)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("whether %s/%s is open for writing is not told: %w", dir.Path(), name, err)
	}
	return nil // closing the file ends the lease
}

// lease takes a read lease on a file. Root may lack the right to do that: it is
// root of a user namespace, or has given up CAP_LEASE. Then lease acts as the
// owner of the file.
func lease(file uintptr, owner uint32) error {
	take := func() error {
		_, err := unix.FcntlInt(file, unix.F_SETLEASE, unix.F_RDLCK)
		return err
	}
	err := take()
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	runtime.LockOSThread() // the file system user ID belongs to a thread
	defer runtime.UnlockOSThread()
	before, err := unix.SetfsuidRetUid(int(owner))
	if err != nil {
		return err
	}
	err = take()
	if e := unix.Setfsuid(before); e != nil {
		runtime.LockOSThread() // locked twice: the thread ends with its goroutine
		return e
	}
	return err
}

// SeesUnmounted implements [driver.WriterFinder].
func (d *vfs) SeesUnmounted() bool { return true }
