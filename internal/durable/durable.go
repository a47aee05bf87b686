// Package durable puts whole files in place: whoever opens the path, now or
// after a power cut, finds the old content or the new, never something between.
//
// It does so in the one order that holds on every file system: write a
// temporary file beside the path, fsync it, close it, rename it over the path,
// fsync the directory. Where the file system can, the temporary file has no
// name until it is complete, so that a killed process leaves none. It is for
// small files of our own and for blobs, not for the trees of layers. The file
// operations go through [FS], so that tests can make each of them fail
// ([Faulty]) and see that none was left out ([Tracer]).
//
//	err := durable.WriteFile(durable.OS(), path, data, 0o600)
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// TempPrefix begins the names of temporary files; a number follows. One that a
// crash has left behind can be removed by whoever owns the directory, see
// [RemoveStale].
const TempPrefix = ".tmp-"

// A Pending file is being written and not in place yet. Not for concurrent use.
type Pending struct {
	fsys FS
	file File
	path string
	perm fs.FileMode
	done bool
}

// Create begins a file that is to appear at path with the permissions perm,
// whatever the umask. The directory must exist. Call Commit, and defer Discard.
func Create(fsys FS, path string, perm fs.FileMode) (*Pending, error) {
	f, err := begin(fsys, filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return &Pending{fsys: fsys, file: f, path: path, perm: perm}, nil
}

// Write adds to the file.
func (p *Pending) Write(b []byte) (int, error) { return p.file.Write(b) }

// Commit puts the file in place. When it returns nil the file is there for
// good; after an error the path is as before, or, when only the directory could
// not be synced, holds the new content but perhaps not for good.
func (p *Pending) Commit() error {
	if p.done {
		return fmt.Errorf("commit %s: it is done already", p.path)
	}
	p.done = true
	defer end(p.file)
	temp := p.file.Name()
	err := p.file.Chmod(p.perm)
	if err == nil {
		err = p.file.Sync()
	}
	if err == nil {
		err = p.file.Keep()
	}
	if err = errors.Join(err, p.file.Close()); err == nil {
		err = p.fsys.Rename(temp, p.path)
	}
	if err != nil {
		return errors.Join(err, p.fsys.Remove(temp))
	}
	return p.fsys.SyncDir(filepath.Dir(p.path))
}

// CommitAs is Commit at another path of the same file system than the one given
// to Create, for content whose name is known only when it is complete.
func (p *Pending) CommitAs(path string) error {
	p.path = path
	return p.Commit()
}

// Discard drops the file, unless it was committed. Idempotent.
func (p *Pending) Discard() error {
	if p.done {
		return nil
	}
	p.done = true
	defer end(p.file)
	return errors.Join(p.file.Close(), p.fsys.Remove(p.file.Name()))
}

// Write puts what fn writes at path. When fn fails, the path is as before.
func Write(fsys FS, path string, perm fs.FileMode, fn func(io.Writer) error) (err error) {
	p, err := Create(fsys, path, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Discard()) }()
	if err := fn(p); err != nil {
		return err
	}
	return p.Commit()
}

// WriteFile puts data at path.
func WriteFile(fsys FS, path string, data []byte, perm fs.FileMode) error {
	return Write(fsys, path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
