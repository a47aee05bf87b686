package cutdisk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Honesty is what a disk does with flushes.
type Honesty bool

// The two sorts of disks.
const (
	// Honest disks obey flushes.
	Honest Honesty = true
	// Lying disks say that they did, as some do to look fast. All that was ever
	// written to one may be lost in a power cut.
	Lying Honesty = false
)

// ErrUnsupported says that this machine cannot have such a disk. The error has
// the reason.
var ErrUnsupported = errors.New("no disk that records can be made here")

// patience is how long the kernel may take to free a detached loop device.
const patience = 10 * time.Second

// A Disk is a running device. Close it.
type Disk struct {
	// Device is the block device, such as /dev/loop3.
	Device string

	file, log string
	server    *exec.Cmd
	life      io.Closer
	// loop keeps the device, which detaches itself when nobody has it open: also
	// when this process is killed, and then it would have no path to be found by.
	loop *os.File
}

// Start makes a device of an image, which changes with it. Its files are in
// dir, which should be in memory.
func Start(dir, image string, honesty Honesty) (*Disk, error) {
	d := &Disk{file: filepath.Join(dir, "disk"), log: filepath.Join(dir, "log")}
	for _, empty := range []string{d.file, d.log} {
		if err := os.WriteFile(empty, nil, 0o600); err != nil {
			return nil, err
		}
	}
	if err := d.serve(settings{File: d.file, Image: image, Log: d.log, Lying: honesty == Lying}); err != nil {
		return nil, err
	}
	out, err := exec.Command("losetup", "--find", "--show", "--direct-io=on", d.file).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: losetup: %w: %s", ErrUnsupported, err, strings.TrimSpace(string(out)))
		return nil, errors.Join(err, d.end())
	}
	d.Device = strings.TrimSpace(string(out))
	if err := d.keep(); err != nil {
		out, e := exec.Command("losetup", "--detach", d.Device).CombinedOutput()
		if e != nil {
			e = fmt.Errorf("detach %s: %w: %s", d.Device, e, out)
		}
		return nil, errors.Join(err, e, d.end())
	}
	if err := d.checkDirect(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// keep opens the device and has it detach itself at the last close.
func (d *Disk) keep() error {
	f, err := os.OpenFile(d.Device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	status, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err == nil {
		status.Flags |= unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopSetStatus64(int(f.Fd()), status)
	}
	if err != nil {
		return errors.Join(&os.PathError{Op: "set the flags of", Path: d.Device, Err: err}, f.Close())
	}
	d.loop = f
	return nil
}

// serve starts the serving process and waits until it has mounted its file.
func (d *Disk) serve(s settings) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	d.server = exec.Command(self)
	d.server.Env = append(os.Environ(), serveEnv+"="+string(text))
	d.server.Stderr = os.Stderr
	if d.life, err = d.server.StdinPipe(); err != nil {
		return err
	}
	said, err := d.server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := d.server.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if line == saidReady {
		return nil
	}
	why := strings.TrimSpace(strings.TrimPrefix(line, saidFailed))
	return errors.Join(fmt.Errorf("%w: %s", ErrUnsupported, why), err, ignoreExit(d.server.Wait()))
}

// checkDirect fails where the loop device caches: flushes would mean nothing.
func (d *Disk) checkDirect() error {
	name := filepath.Join("/sys/block", filepath.Base(d.Device), "loop/dio")
	dio, err := os.ReadFile(name)
	if err == nil && strings.TrimSpace(string(dio)) != "1" {
		err = fmt.Errorf("%w: %s has no direct I/O", ErrUnsupported, d.Device)
	}
	return err
}

// Position is where the log ends now: what was acknowledged before is in it.
func (d *Disk) Position() (int64, error) {
	info, err := os.Stat(d.log)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Log reads the log as it is now.
func (d *Disk) Log() (*Log, error) {
	b, err := os.ReadFile(d.log)
	if err != nil {
		return nil, err
	}
	return parseLog(b)
}

// Close takes the device away, which nothing may have mounted. The log stays.
func (d *Disk) Close() error {
	return errors.Join(d.loop.Close(), d.end())
}

// end unmounts the file and ends the serving process, which ends by itself
// then.
func (d *Disk) end() error {
	err := unix.Unmount(d.file, 0)
	for start := time.Now(); errors.Is(err, unix.EBUSY) && time.Since(start) < patience; time.Sleep(time.Millisecond) {
		err = unix.Unmount(d.file, 0) // the kernel lets go of a detached device's file later
	}
	if err != nil {
		err = errors.Join(&os.PathError{Op: "unmount", Path: d.file, Err: err}, d.life.Close(), unix.Unmount(d.file, unix.MNT_DETACH))
	}
	return errors.Join(err, ignoreExit(d.server.Wait()))
}

// ignoreExit leaves out that the serving process ended with 1, as it does when
// it is told to end before its file is unmounted.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
