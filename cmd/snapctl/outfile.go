package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/layerkeep/layerkeep/internal/durable"
)

// writeOut lets write fill the file at path, or standard output for "" and "-".
// A terminal is refused. A regular file appears whole, under its name, only
// when write succeeded; before that and after an error what was there is
// untouched.
func (a *app) writeOut(ctx context.Context, path string, write func(io.Writer) error) error {
	if path == "" || path == "-" {
		if isTerminal(a.Out) {
			return errTerminal()
		}
		return writeInterruptibly(ctx, a.Out, write)
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return writeSpecial(ctx, path, info, write)
	}
	return writeWhole(ctx, path, write)
}

func errTerminal() error {
	return advise(usagef("the output is a tar stream, and standard output is a terminal"), "name a file, or redirect the output")
}

// writeSpecial writes into what is no regular file, such as a fifo, as it is.
func writeSpecial(ctx context.Context, path string, info os.FileInfo, write func(io.Writer) error) error {
	if info.IsDir() {
		return as(errUsage, fmt.Errorf("%q is a directory", path))
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if isTerminal(f) {
		return errors.Join(errTerminal(), f.Close())
	}
	return errors.Join(writeInterruptibly(ctx, f, write), f.Close())
}

// writeWhole puts a file in place that is there for good once it returns nil.
func writeWhole(ctx context.Context, path string, write func(io.Writer) error) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return durable.Write(anywhere{durable.OS()}, path, 0o666&^umask(), func(w io.Writer) error {
		return write(contextWriter{ctx, w})
	})
}

// anywhere is for places that are not ours: a directory that may be written to
// but not read, or whose file system syncs none, is no reason to fail.
type anywhere struct{ durable.FS }

func (a anywhere) SyncDir(dir string) error {
	err := a.FS.SyncDir(dir)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
