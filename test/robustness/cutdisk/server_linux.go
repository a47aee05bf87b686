package cutdisk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// serveEnv tells this program, started again, to serve a disk.
const serveEnv = "LAYERKEEP_TEST_CUTDISK"

// What the serving process says first, and what it says when it cannot serve.
const (
	saidReady  = "ready\n"
	saidFailed = "failed: "
)

// settings are what the serving process is told.
type settings struct {
	File, Image, Log string
	Lying            bool
}

// Main serves a disk, and never returns, when this process was started for
// that.
//
// It must not be the process that mounts what is on the disk: a process that
// waits for its own answer cannot even be killed.
func Main() {
	text := os.Getenv(serveEnv)
	if text == "" {
		return
	}
	if err := serve(text); err != nil {
		fmt.Printf("%s%v\n", saidFailed, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(text string) error {
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	d, err := openRecorder(s)
	if err != nil {
		return err
	}
	go func() {
		// The pipe ends when the test's process does, however it ended. Then the
		// kernel gives everybody who waits for this disk an error.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	fd, err := mountFile(s.File)
	if err != nil {
		return err
	}
	return serveFUSE(fd, d, func() error {
		_, err := os.Stdout.WriteString(saidReady)
		return err
	})
}

// A recorder is the disk: an image as it is now, and the log of how it came to
// it.
type recorder struct {
	image, log *os.File
	bytes      int64
	lying      bool
}

func openRecorder(s settings) (*recorder, error) {
	image, err := os.OpenFile(s.Image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := image.Stat()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.Log, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	return &recorder{image: image, log: log, bytes: info.Size(), lying: s.Lying}, nil
}

func (r *recorder) size() int64 { return r.bytes }

func (r *recorder) read(b []byte, offset int64) (int, error) {
	n, err := r.image.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (r *recorder) write(b []byte, offset int64) error {
	if err := (Record{Kind: Write, Offset: offset, Length: int64(len(b)), Data: b}).append(r.log); err != nil {
		return err
	}
	_, err := r.image.WriteAt(b, offset)
	return err
}

func (r *recorder) zero(offset, length int64) error {
	if err := (Record{Kind: Zero, Offset: offset, Length: length}).append(r.log); err != nil {
		return err
	}
	return unix.Fallocate(int(r.image.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
}

// flush of a lying disk says that all is well, and remembers nothing.
func (r *recorder) flush() error {
	if r.lying {
		return nil
	}
	return Record{Kind: Flush}.append(r.log)
}
