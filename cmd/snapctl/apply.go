package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver"
)

type applyOptions struct {
	key, file string
}

const applyLong = `Unpack a layer over the content of the active snapshot KEY. The layer is a tar stream,
uncompressed or compressed with gzip, zstd, xz or bzip2; - reads standard input. After
an error KEY is unchanged, unless the error says that KEY is torn. A kill or a power cut
can also leave KEY torn: then it can only be removed. KEY must not be mounted.

--limit bounds what the layer may demand. LIMITS is a list of NAME=VALUE, separated by
commas. A layer that exceeds a limit is invalid (exit code 6). The defaults are:

  entries=10000000  entries, including directories that exist only in their paths
  bytes=1TiB        bytes of the uncompressed stream, and of all files including holes
  ratio=N           uncompressed bytes per compressed byte, after 64 MiB (no limit)
  depth=1000000     names in one path
  header=1MiB       bytes of one extended header
  memory=256MiB     bytes of memory for what must be remembered of all entries

The command prints the diffID of the layer, the digest of the uncompressed stream.`

const applyJSON = `{
  "key": "work",
  "diffID": "sha256:…",
  "bytes": 10240,
  "entries": 7
}`

type applyResult struct {
	Key     string        `json:"key"`
	DiffID  digest.Digest `json:"diffID"`
	Bytes   int64         `json:"bytes"`
	Entries int64         `json:"entries"`
}

func newApplyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "apply [--limit LIMITS] KEY FILE|-",
		Short:             "Unpack a layer into a writable snapshot",
		Long:              jsonHelp(applyLong, applyJSON),
		Args:              exactArgs(2),
		ValidArgsFunction: a.completeThenFiles(keys(snapshots.KindActive), argAt(0), argAt(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runApply(cmd.Context(), a, applyOptions{key: args[0], file: args[1]})
		},
	}
	a.addLimitFlag(cmd)
	return cmd
}

func runApply(ctx context.Context, a *app, opts applyOptions) error {
	layer, length, err := a.openLayer(ctx, opts.file)
	if err != nil {
		return err
	}
	defer func() { _ = layer.Close() }() // it was only read
	return a.withStore(ctx, func(st *store) error {
		_, release, err := st.activeInfo(ctx, a, opts.key)
		if err != nil {
			return doing(err, "applying the layer %s to the snapshot %q", sourceName(opts.file), opts.key)
		}
		defer release()
		bar := a.newByteBar(ctx, "applying", length)
		applied, err := st.Apply(ctx, opts.key, contextReader{ctx, bar.reader(layer)}, driver.ApplyOptions{
			Sync: true, // the next command may come after a power cut
			Warn: func(path, message string) { a.log.Warn(message, "path", "/"+path) },
		})
		bar.close()
		if err != nil {
			return doing(err, "layer %s", sourceName(opts.file))
		}
		result := applyResult{Key: opts.key, DiffID: applied.DiffID, Bytes: applied.Bytes, Entries: applied.Entries}
		return a.line(result, "%s", applied.DiffID)
	})
}

// openLayer opens a layer and says how long it is, 0 when that is not known.
func (a *app) openLayer(ctx context.Context, file string) (io.ReadCloser, int64, error) {
	if file == "-" {
		if isTerminal(a.In) {
			return nil, 0, advise(usagef("apply: standard input is a terminal, not a layer"), "name a file, or pipe a layer in")
		}
		return io.NopCloser(interruptible(ctx, a.In)), 0, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, advise(doing(err, "opening the layer"), "give the tar file of a layer, or - for standard input")
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = advise(as(errInvalid, fmt.Errorf("the layer %q is a directory", file)), "give the tar file of a layer, or - for standard input")
	}
	if err != nil {
		_ = f.Close() // it was only opened for reading
		return nil, 0, err
	}
	if !info.Mode().IsRegular() { // such as a pipe that a shell made
		return struct {
			io.Reader
			io.Closer
		}{interruptible(ctx, f), f}, 0, nil
	}
	return f, info.Size(), nil
}
