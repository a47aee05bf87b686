package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/mount"
)

// demoRef is the name of the demo's image.
const demoRef = "demo:latest"

type demoOptions struct {
	// dir is where it all happens; empty: a new temporary directory.
	dir string
	// inNamespace says that this process was started in a namespace of its own.
	inNamespace bool
}

const demoLong = `Show what a union file system is, on a small image that is part of this program. The
demo imports the image, mounts it, looks for a file that a layer hides, changes
something, lists and packs the changes, commits them, and removes everything again.

It works in a temporary directory with its own store and leaves nothing behind; it
ignores --root. Without root it runs in a user namespace. It fails when a step does not
do what it says.`

const demoJSON = `{
  "ok": true,
  "driver": "overlay2",
  "userNamespace": false,
  "steps": [
    {
      "title": "Import the image",
      "ok": true
    }
  ]
}`

type demoResult struct {
	OK            bool       `json:"ok"`
	Driver        string     `json:"driver"`
	UserNamespace bool       `json:"userNamespace"`
	Steps         []demoStep `json:"steps"`
}

type demoStep struct {
	Title string `json:"title"`
	OK    bool   `json:"ok"`
}

func newDemoCommand(a *app) *cobra.Command {
	var opts demoOptions
	cmd := &cobra.Command{
		Use:               "demo",
		Short:             "Show what a union file system is, on a small image",
		Long:              jsonHelp(demoLong, demoJSON),
		Args:              exactArgs(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), a, opts) },
	}
	cmd.Flags().StringVar(&opts.dir, "dir", "", "")
	cmd.Flags().BoolVar(&opts.inNamespace, "in-namespace", false, "")
	for _, internal := range []string{"dir", "in-namespace"} {
		if err := cmd.Flags().MarkHidden(internal); err != nil {
			panic(err) // the flag was not defined: a mistake in this program
		}
	}
	return cmd
}

func runDemo(ctx context.Context, a *app, opts demoOptions) (err error) {
	if opts.dir == "" {
		dir, err := os.MkdirTemp("", "snapctl-demo-")
		if err != nil {
			return advise(doing(err, "making a directory for the demo"), "set TMPDIR to a directory you may write to")
		}
		// Mounts resolve symbolic links; so do we, to recognise our paths.
		if opts.dir, err = filepath.EvalSymlinks(dir); err != nil {
			return errors.Join(err, os.Remove(dir))
		}
	}
	defer func() { err = errors.Join(err, doing(os.RemoveAll(opts.dir), "cleaning up after the demo")) }()
	if !opts.inNamespace && !canMount() {
		return demoInNamespace(ctx, a, opts)
	}
	if opts.inNamespace {
		if err := ownMounts(); err != nil {
			return err
		}
	}
	if err := demoable(ctx, a, opts.dir); err != nil {
		return err
	}
	d := &demo{app: a, narrator: newNarrator(a), dir: opts.dir, namespace: opts.inNamespace}
	defer func() { err = errors.Join(err, d.unmountAll()) }()
	return d.run(ctx)
}

// demoable refuses, before anything is shown, a backend that was asked for and
// mounts nothing writable here.
func demoable(ctx context.Context, a *app, dir string) error {
	for _, b := range all.Backends() {
		if b.Name != a.global.driver {
			continue
		}
		props, err := probeDriver(ctx, dir, b)
		if err == nil && !props.MountsWritable {
			return advise(fmt.Errorf("%w: the backend %s mounts no writable snapshots here", errNoDemo, b.Name), "leave out --driver and "+driverEnv)
		}
	}
	return nil // any other error is the first step's
}

// A demo is one run of the demo.
type demo struct {
	app       *app
	narrator  *narrator
	dir       string
	namespace bool
	result    demoResult
}

// path is a path in the demo's directory.
func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// run goes through the steps. The first that fails ends it.
func (d *demo) run(ctx context.Context) error {
	archive, err := demoImage(runtime.GOARCH)
	if err != nil {
		return doing(err, "making the demo's image")
	}
	if err := os.WriteFile(d.path("demo.tar"), archive, 0o600); err != nil {
		return err
	}
	for _, target := range demoTargets() {
		if err := os.Mkdir(d.path(target), 0o755); err != nil {
			return err
		}
	}
	d.result = demoResult{UserNamespace: d.namespace, Steps: []demoStep{}}
	d.intro()
	for i, s := range demoSteps() {
		if err = ctx.Err(); err == nil {
			d.narrator.title(i+1, s.title)
			err = s.run(ctx, d)
		}
		d.result.Steps = append(d.result.Steps, demoStep{Title: s.title, OK: err == nil})
		if err != nil {
			return fmt.Errorf("demo, step %d (%s): %w", i+1, s.title, err)
		}
	}
	d.result.OK = true
	d.outro()
	if d.app.global.json {
		return d.app.printJSON(d.result)
	}
	return d.narrator.err
}

// unmountAll unmounts what a step that failed left mounted.
func (d *demo) unmountAll() error {
	var errs []error
	for _, target := range demoTargets() {
		err := mount.Unmount(d.path(target))
		if !errors.Is(err, mount.ErrNotMounted) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, mount.ErrUnsupported) {
			errs = append(errs, doing(err, "cleaning up after the demo"))
		}
	}
	return errors.Join(errs...)
}

// childExit is the exit code of a process that has told the user why itself.
type childExit struct{ code int }

func (c childExit) Error() string { return fmt.Sprintf("exit code %d", c.code) }
