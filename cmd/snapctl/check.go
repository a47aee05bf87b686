package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/internal/errkind"
)

const checkLong = `Look for damage in the store: in its database, in the records of layers, in the files
of layers, and in images and their blobs. NAMEs are images or snapshots: with them the
command checks only these and everything below them. It changes nothing.

Without --read-data the command reads the database, every record, every directory and
the attributes of every file, and manifests and configs. With --read-data it reads
every byte: it compares blobs with their digests, an imported layer with its blob, and
a committed layer with the digest that 'snapctl commit' recorded (for layers of up to
64 MiB). When nothing was recorded, as for a layer that an engine unpacked, it still
reads the layer, and counts it as not compared.

When a service has the store open, the check runs in the service. Engines and other
commands do not wait for it, except that nothing can be written to the database while
the check compares its pages. What they change during the check is not damage. The check
leaves out, and counts, what was removed since its start and what was being changed each
time it looked. It leaves out, and does not count, what was made since its start.

The command prints each damaged thing on one line, and the exit code is then 8. With --background
it reads at most RATE bytes per second, and uses the processor and the disk only when
they are idle.

A check that a signal ends prints how to continue with --after. The next check then
leaves out what was already checked, except the database.`

const checkJSON = `{
  "findings": [
    {
      "part": "snapshot",
      "name": "sha256:…",
      "layer": "7",
      "path": "usr/bin/true",
      "what": "/usr/bin/true: content is not that of the tar",
      "images": [
        "debian:12"
      ]
    }
  ],
  "snapshots": 12,
  "images": 2,
  "blobs": 16,
  "unread": 1,
  "changed": 0,
  "bytes": 3145728
}`

type checkResult struct {
	Findings  []findingJSON `json:"findings"`
	Snapshots int           `json:"snapshots"`
	Images    int           `json:"images"`
	Blobs     int           `json:"blobs"`
	Unread    int           `json:"unread"`
	Changed   int           `json:"changed"`
	Bytes     int64         `json:"bytes"`
}

type findingJSON struct {
	Part   string   `json:"part"`
	Name   string   `json:"name"`
	Layer  string   `json:"layer"`
	Path   string   `json:"path"`
	What   string   `json:"what"`
	Images []string `json:"images"`
}

// errDamage: the store has damage that a check has found.
var errDamage = errors.New("damage found")

func newCheckCommand(a *app) *cobra.Command {
	var readData bool
	var after string
	var rate sizeFlag
	cmd := &cobra.Command{
		Use:               "check [--read-data] [--background RATE] [--after POSITION] [NAME...]",
		Short:             "Look for damage in the store",
		Long:              jsonHelp(checkLong, checkJSON),
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.complete(either(imageNames, allKeys()), everyArg),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.global.readOnly = true
			return runCheck(cmd.Context(), a, check.Options{ReadData: readData, Names: args, After: check.Position(after)}, int64(rate))
		},
	}
	cmd.Flags().BoolVar(&readData, "read-data", false, "read and compare every byte")
	cmd.Flags().Var(&rate, "background", "read at most `RATE` bytes per second, for example 20MiB, at low priority")
	cmd.Flags().StringVar(&after, "after", "", "continue at `POSITION`, which an interrupted check has printed")
	completeFlag(cmd, "after", cobra.NoFileCompletions)
	return cmd
}

func runCheck(ctx context.Context, a *app, opts check.Options, rate int64) error {
	return a.withStore(ctx, func(st *store) error {
		result := checkResult{Findings: []findingJSON{}}
		opts.Step = newPace(a).step
		reached := opts.After
		opts.Reached = func(at check.Position, _ check.Summary) { reached = at }
		var printErr error
		sum, err := st.Check(ctx, opts, rate, func(f check.Finding) {
			result.Findings = append(result.Findings, findingJSON{
				Part: string(f.Part), Name: f.Name, Layer: string(f.Layer), Path: f.Path, What: f.What,
				Images: append([]string{}, f.Images...),
			})
			if !a.global.json && printErr == nil {
				_, printErr = fmt.Fprintln(a.Out, escapeLine(f.String()))
			}
		})
		if ctx.Err() != nil && reached != "" {
			err = advise(err, "to continue from there, run it again with --after "+shellWord(string(reached)))
		}
		if err = errors.Join(explainCheck(err), printErr); err != nil {
			return doing(err, "checking the store %s", a.global.root)
		}
		result.Snapshots, result.Images, result.Blobs = sum.Snapshots, sum.Images, sum.Blobs
		result.Unread, result.Changed, result.Bytes = sum.Unread, sum.Changed, sum.Bytes
		if err := a.result(result, func(w io.Writer) error { return result.print(w, opts.ReadData) }); err != nil {
			return err
		}
		if n := len(result.Findings); n > 0 {
			return fmt.Errorf("%w in the store %s: %d %s", errDamage, a.global.root, n, plural(n, "finding", "findings"))
		}
		return nil
	})
}

func (r checkResult) print(w io.Writer, readData bool) error {
	line := fmt.Sprintf("checked %d %s and %d %s", r.Snapshots, plural(r.Snapshots, "snapshot", "snapshots"),
		r.Images, plural(r.Images, "image", "images"))
	if readData {
		line += fmt.Sprintf(", %d %s; read %s", r.Blobs, plural(r.Blobs, "blob", "blobs"), size(r.Bytes))
	}
	if r.Unread > 0 {
		line += fmt.Sprintf("; %d %s could be compared with nothing", r.Unread, plural(r.Unread, "snapshot", "snapshots"))
	}
	if r.Changed > 0 {
		line += fmt.Sprintf("; %d %s changed meanwhile and not looked at to the end", r.Changed, plural(r.Changed, "thing was", "things were"))
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// explainCheck says what to do about a service that does not check.
func explainCheck(err error) error {
	switch {
	case errors.Is(err, check.ErrNoPosition):
		return errkind.As(err, errUsage)
	case errors.Is(err, errdefs.ErrNotImplemented):
		return advise(err, "the service is an older version that cannot check; restart it with this version, or stop it during the check")
	case errors.Is(err, errdefs.ErrUnavailable) && !errors.Is(err, client.ErrNoAnswer):
		return advise(err, "wait until it has ended, then run this again")
	}
	return err
}

// A pace says now and then how far something is.
type pace struct {
	a    *app
	last time.Time
}

const paceEvery = 10 * time.Second

func newPace(a *app) *pace { return &pace{a, time.Now()} }

func (p *pace) step(done, all int, name string) {
	if time.Since(p.last) < paceEvery {
		return
	}
	p.last = time.Now()
	p.a.note("checked %d of %d, now %s", done, all, name)
}
