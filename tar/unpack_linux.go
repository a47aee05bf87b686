package tar

import (
	"context"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// An unpacker is one run of Unpack. It implements the effects of a [reading] on
// the staging directory. Only the parsing goroutine uses its fields.
type unpacker struct {
	reading
	staging *os.File
	spool   *os.File // the rest of the stream, once readAhead has copied it

	dirs    *dirCache
	writers *writers
	maker   *maker

	dirAttrs keptAttrs // of directories
	room     room
	rescued  int
	buf      []byte
}

func unpack(ctx context.Context, staging *os.File, layer io.Reader, opts UnpackOptions) (*Delta, Applied, error) {
	if err := ctx.Err(); err != nil {
		return nil, Applied{}, ctx.Err()
	}
	algorithm, err := algorithmOf(opts.DiffID)
	if err != nil {
		return nil, Applied{}, err
	}
	if opts.Detached {
		opts.Parents = nil
	}
	u, err := newUnpacker(ctx, staging, opts)
	if err != nil {
		return nil, Applied{}, err
	}
	defer u.close()
	u.start(layer, algorithm)
	delta, applied, err := u.run(algorithm)
	if err != nil {
		return nil, Applied{}, err
	}
	return delta, applied, nil
}

func newUnpacker(ctx context.Context, staging *os.File, opts UnpackOptions) (*unpacker, error) {
	m, err := newMaker(int(staging.Fd()), opts)
	if err != nil {
		return nil, err
	}
	u := &unpacker{reading: newReading(ctx, opts), staging: staging, dirs: newDirCache(int(staging.Fd())), maker: m}
	u.do = u
	u.room.fd = int(staging.Fd())
	u.dirAttrs.open, u.dirAttrs.room = u.openSpool, &u.room
	u.writers = newWriters(m, opts.Writers)
	u.dirs.drain = u.writers.drain
	return u, nil
}

func (u *unpacker) close() {
	u.reading.close()
	u.writers.close()
	u.dirs.close()
	u.dirAttrs.close()
	arenaSpaces.put(u.buf)
	if u.spool != nil {
		u.spool.Close()
	}
}

func (u *unpacker) run(algorithm digest.Algorithm) (*Delta, Applied, error) {
	if err := u.readAll(); err != nil {
		if werr := u.writers.error(); werr != nil {
			return nil, Applied{}, werr
		}
		return nil, Applied{}, err
	}
	if err := u.writers.drain(); err != nil {
		return nil, Applied{}, err
	}
	applied, err := u.applied(algorithm)
	if err != nil {
		return nil, Applied{}, err
	}
	delta, err := u.finish()
	if err == nil {
		u.maker.lost.report(u.maker.warn)
	}
	return delta, applied, err
}
