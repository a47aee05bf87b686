package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeOut lets write fill the file at path, or standard output for "" and "-".
// A terminal is refused. A regular file appears whole, under its name, only when
// write succeeded; before that and after an error what was there is untouched.
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

// writeWhole writes beside the file and renames into place.
func writeWhole(ctx context.Context, path string, write func(io.Writer) error) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if err := write(contextWriter{ctx, f}); err != nil {
		return err
	}
	// CreateTemp makes files that only their owner may read.
	if err := f.Chmod(0o666 &^ umask()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return f.Close()
}
