package bench

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
)

// pageCacheCase measures whether containers of one image share what they have
// read.
func pageCacheCase(size int64) Case {
	return Case{
		Name: "page-cache", Params: Params{{"size", sizeText(size)}}, Quick: size == 16<<20, Once: size == 16<<20,
		About: "read a file in one container and then in a second one of the same image: is it read and kept in memory twice?",
		Cannot: func(_ *Subject, p *disk.Place) string {
			if p.FileSystem == disk.Tmpfs {
				return "a file system in memory has no device to read from"
			}
			return ""
		},
		Start: startPageCache(size),
	}
}

const pageCacheFile = "file"

// A pageCacheTrial reads one file of an image in two containers.
type pageCacheTrial struct {
	st   *Stage
	base string
	size int64
}

func startPageCache(size int64) func(context.Context, *Stage) (Trial, error) {
	return func(ctx context.Context, st *Stage) (Trial, error) {
		if err := canDrop(st.Place); err != nil {
			return nil, err
		}
		base, err := st.Base(ctx, "page-cache "+sizeText(size), func(l *synth.Layer) { l.File(pageCacheFile, size) })
		if err != nil {
			return nil, err
		}
		return pageCacheTrial{st, base, size}, nil
	}
}

// Round adds what the second container has read from the device
// ("device-reads") and how much more of its file is in memory afterwards
// ("resident"), both 0 where the containers share the pages, and how long each
// of them took ("first", "second").
func (t pageCacheTrial) Round(ctx context.Context, r *Round) (err error) {
	both, err := t.st.StartAll(ctx, 2, t.base)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.st.StopAll(ctx, both)) }()
	if err := t.st.Place.DropCaches(); err != nil {
		return err
	}
	first, err := t.read(both[0])
	if err != nil {
		return err
	}
	second, err := t.read(both[1])
	if err != nil {
		return err
	}
	if second.counts {
		r.Add("device-reads", Bytes, float64(second.device))
	}
	r.Add("resident", Bytes, float64(second.resident))
	r.Add("first", Seconds, first.took.Seconds())
	r.Add("second", Seconds, second.took.Seconds())
	return nil
}

func (t pageCacheTrial) Stop(context.Context) error { return nil }

// A pageCacheRead is what it took to read a file.
type pageCacheRead struct {
	took time.Duration
	// device has the bytes that came from the device, if it counts them.
	device int64
	counts bool
	// resident has the bytes of the file that are in memory now, and were not
	// before.
	resident int64
}

func (t pageCacheTrial) read(c *Container) (got pageCacheRead, err error) {
	f, err := os.Open(c.Path(pageCacheFile))
	if err != nil {
		return got, err
	}
	defer f.Close()
	before, err := resident(f, t.size)
	if err != nil {
		return got, err
	}
	device, _ := t.st.Place.Read()
	begun := time.Now()
	// io.Discard alone would choose its own buffer, of 8 KiB.
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	if err == nil && n != t.size {
		err = &os.PathError{Op: "read", Path: f.Name(), Err: io.ErrUnexpectedEOF}
	}
	if err != nil {
		return got, err
	}
	got.took = time.Since(begun)
	after, counts := t.st.Place.Read()
	got.device, got.counts = after-device, counts
	now, err := resident(f, t.size)
	got.resident = now - before
	return got, err
}

// resident returns how many bytes of a file are in memory.
//
// It asks mincore(2), not cachestat(2): a mapping of a file of an overlay is
// one of the file of the layer, whose pages count, while cachestat looks at the
// file of the overlay, which never has any. The difference of Cached in
// /proc/meminfo would count what other programs read, too.
func resident(f *os.File, size int64) (int64, error) {
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	page := os.Getpagesize()
	pages := make([]byte, (len(mapped)+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&pages[0])))
	if err := unix.Munmap(mapped); err != nil {
		return 0, &os.PathError{Op: "munmap", Path: f.Name(), Err: err}
	}
	if errno != 0 {
		return 0, &os.PathError{Op: "mincore", Path: f.Name(), Err: errno}
	}
	var bytes int64
	for _, p := range pages {
		bytes += int64(p&1) * int64(page)
	}
	return min(bytes, size), nil
}
