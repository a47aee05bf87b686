package main

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

type diffOptions struct {
	key, output, compress string
}

const diffLong = `Write the changes of the snapshot KEY against its parent as a layer: a tar stream. It
goes to standard output, or to FILE with -o. KEY may be active or committed. The same
changes always give the same bytes.

FILE appears when it is complete. The command refuses to write a tar to a terminal. With
--json, which needs -o, it prints what it wrote.`

const diffJSON = `{
  "key": "work",
  "file": "layer.tar.gz",
  "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
  "digest": "sha256:…",
  "size": 512,
  "diffID": "sha256:…",
  "bytes": 10240,
  "added": 3,
  "modified": 1,
  "deleted": 2
}`

type diffResult struct {
	Key       string        `json:"key"`
	File      string        `json:"file"`
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	DiffID    digest.Digest `json:"diffID"`
	Bytes     int64         `json:"bytes"`
	Added     int64         `json:"added"`
	Modified  int64         `json:"modified"`
	Deleted   int64         `json:"deleted"`
}

func newDiffCommand(a *app) *cobra.Command {
	var opts diffOptions
	cmd := &cobra.Command{
		Use:               "diff [-o FILE] [--compress none|gzip|zstd] KEY",
		Short:             "Write the changes of a snapshot as a layer",
		Long:              jsonHelp(diffLong, diffJSON),
		Args:              exactArgs(1),
		ValidArgsFunction: a.complete(either(imageNames, allKeys()), argAt(0)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.key = args[0]
			return runDiff(cmd.Context(), a, opts)
		},
	}
	cmd.Flags().StringVarP(&opts.output, "output", "o", "", "write to `FILE`; - means standard output")
	cmd.Flags().StringVar(&opts.compress, "compress", "none", "compress with `ALGORITHM`: none, gzip or zstd")
	completeFlag(cmd, "compress", cobra.FixedCompletions([]string{"none", "gzip", "zstd"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// compressions maps the names of --compress to what they mean.
func compressions() map[string]tar.Compression {
	return map[string]tar.Compression{"none": tar.None, "gzip": tar.Gzip, "zstd": tar.Zstd}
}

func layerMediaType(c tar.Compression) string {
	switch c {
	case tar.Gzip:
		return v1.MediaTypeImageLayerGzip
	case tar.Zstd:
		return v1.MediaTypeImageLayerZstd
	default:
		return v1.MediaTypeImageLayer
	}
}

func runDiff(ctx context.Context, a *app, opts diffOptions) error {
	compression, ok := compressions()[opts.compress]
	toStdout := opts.output == "" || opts.output == "-"
	switch {
	case !ok:
		return usagef("unknown compression %q; choose none, gzip or zstd", opts.compress)
	case toStdout && a.global.json:
		return usagef("diff: --json needs -o FILE, because otherwise the layer goes to standard output")
	case toStdout && isTerminal(a.Out):
		return errTerminal()
	}
	return a.withStore(ctx, func(st *store) error {
		key, err := st.key(ctx, opts.key)
		if err != nil {
			return doing(err, "looking up %q", opts.key)
		}
		result := diffResult{Key: key, File: opts.output, MediaType: layerMediaType(compression)}
		bar := a.newByteBar(ctx, "diffing", 0)
		err = a.writeOut(ctx, opts.output, func(w io.Writer) error {
			return st.writeDiff(ctx, a, &result, bar.writer(w), compression)
		})
		bar.close()
		if err != nil {
			return doing(err, "writing the changes of the snapshot %q to %s", key, outputName(opts.output))
		}
		if a.global.json {
			return a.printJSON(result)
		}
		return nil
	})
}

// writeDiff writes the layer to w and what it was to result.
func (st *store) writeDiff(ctx context.Context, a *app, result *diffResult, w io.Writer, c tar.Compression) error {
	blob, plain := digest.Canonical.Digester(), digest.Canonical.Digester()
	count := &countingWriter{w: io.MultiWriter(w, blob.Hash())}
	packed, err := tar.Compress(count, c)
	if err != nil {
		return err
	}
	latest, err := sourceDateEpoch()
	if err != nil {
		return err
	}
	var stats diff.Stats
	stats, err = st.Diff(ctx, result.Key, io.MultiWriter(packed, plain.Hash()), driver.DiffOptions{
		MaxTime: latest,
		Warn:    func(path, message string) { a.log.Warn(message, "path", "/"+path) },
	})
	if err != nil {
		return err
	}
	if err := packed.Close(); err != nil {
		return err
	}
	result.Digest, result.Size, result.DiffID = blob.Digest(), count.n, plain.Digest()
	result.Bytes, result.Added, result.Modified, result.Deleted = stats.Bytes, stats.Added, stats.Modified, stats.Deleted
	return nil
}

func outputName(file string) string {
	if file == "" || file == "-" {
		return "standard output"
	}
	return fmt.Sprintf("%q", file)
}

// countingWriter counts what goes through it.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
