package disk

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// freeLoops is how often a free loop device is asked for: between the answer
	// and its use another program may take it.
	freeLoops = 50
	loopPause = 20 * time.Millisecond
)

// mountLoop mounts the file system in an image. The loop device goes when
// nothing is mounted any more, also after this process was killed.
func mountLoop(image, target, kind string) error {
	loop, err := attach(image)
	if err != nil {
		return err
	}
	defer loop.Close()
	if err := unix.Mount(loop.Name(), target, kind, 0, ""); err != nil {
		if errors.Is(err, unix.ENODEV) {
			err = fmt.Errorf("%w: the kernel has no %s", ErrUnsupported, kind)
		}
		return &os.PathError{Op: "mount", Path: loop.Name(), Err: err}
	}
	return nil
}

// attach gives an image a loop device, which it returns open: it detaches
// itself when it is closed and nothing is mounted. The image is read and
// written past the page cache where its file system can do that, so that
// nothing is kept twice in memory.
func attach(image string) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: no loop devices: %w", ErrUnsupported, err)
	}
	defer control.Close()
	backing, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	for range freeLoops {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd())} //nolint:gosec // it fits
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if errors.Is(err, unix.EINVAL) { // no direct access to the image
			config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
			err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		}
		if err == nil {
			return loop, nil
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, &os.PathError{Op: "attach", Path: loop.Name(), Err: err}
		}
		time.Sleep(loopPause)
	}
	return nil, fmt.Errorf("%w: other programs take every loop device", ErrUnsupported)
}
