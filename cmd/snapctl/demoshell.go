package main

import (
	stdtar "archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// snapctl shows a command line of snapctl, carries it out, in this process, and
// shows what it printed. Names of the demo's own files stand for their paths.
func (d *demo) snapctl(ctx context.Context, args ...string) (string, error) {
	d.narrator.command("snapctl " + strings.Join(args, " "))
	own := append(demoTargets(), "demo.tar", "layer.tar", "again.tar")
	real := slices.Clone(args)
	for i, arg := range real {
		if slices.Contains(own, arg) {
			real[i] = d.path(arg)
		}
	}
	out, err := d.execute(ctx, real...)
	out = strings.ReplaceAll(out, d.dir+"/", "")
	d.narrator.output(out)
	return out, err
}

// execute carries out a command line on the demo's store.
func (d *demo) execute(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	global := []string{"--root", d.path("store"), "--log-level", d.app.global.logLevel}
	if d.app.global.driver != "" {
		global = append(global, "--driver", d.app.global.driver)
	}
	err := execute(ctx, streams{In: strings.NewReader(""), Out: &out, Err: d.app.Err}, append(global, args...))
	return out.String(), err
}

// cat shows a file.
func (d *demo) cat(name string) (string, error) {
	d.narrator.command("cat " + name)
	body, err := os.ReadFile(d.path(name))
	d.narrator.output(string(body))
	return string(body), err
}

// find shows all that is no directory below a directory, and lists it.
func (d *demo) find(dir string) ([]string, error) {
	d.narrator.command("find " + dir + " ! -type d")
	var names []string
	err := filepath.WalkDir(d.path(dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(d.dir, path)
		names = append(names, name)
		return err
	})
	d.narrator.output(strings.Join(names, "\n"))
	return names, err
}

// listTar shows and lists the names in an archive.
func (d *demo) listTar(name string) ([]string, error) {
	d.narrator.command("tar -tf " + name)
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var names []string
	for r := stdtar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		names = append(names, h.Name)
	}
	d.narrator.output(strings.Join(names, "\n"))
	return names, nil
}
