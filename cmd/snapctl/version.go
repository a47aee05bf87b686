package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "devel"

const versionLong = `Show the version of snapctl, and which backends work on the file system of the store.
For each backend the command shows what it can and cannot do there, or why it does not
work. A new store gets the first backend that works; --driver NAME chooses another one.

For a backend that mounts overlays the command also shows the system calls that it
uses, which depend on the kernel: "descriptors" (Linux 6.13), "strings" (6.7) or
"mount(2)" (any).

Backends: overlay2 stores layers as upper directories of overlay mounts; btrfs stores
layers as subvolumes; vfs stores layers as copies, on any file system; aufs uses the
branches that old engines have left.`

const versionJSON = `{
  "version": "v0.1.0",
  "commit": "122f09ef3c59",
  "go": "go1.26.6",
  "platform": "linux/amd64",
  "root": "/var/lib/layerkeep",
  "drivers": [
    {
      "name": "overlay2",
      "available": true,
      "reason": "",
      "can": [
        "mountsWritable",
        "nativeDiff"
      ],
      "maxParents": 500,
      "mountWay": "descriptors",
      "maxName": 0
    }
  ]
}`

type versionResult struct {
	Version  string          `json:"version"`
	Commit   string          `json:"commit"`
	Go       string          `json:"go"`
	Platform string          `json:"platform"`
	Root     string          `json:"root"`
	Drivers  []driverVerdict `json:"drivers"`
}

// A driverVerdict says whether a backend works, and if not, why.
type driverVerdict struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	Reason    string `json:"reason"`
	// Can names the abilities that it has here.
	Can        []string `json:"can"`
	MaxParents int      `json:"maxParents"`
	// MountWay is how overlays are mounted, empty for a backend that mounts none.
	MountWay string `json:"mountWay"`
	MaxName  int    `json:"maxName"`

	props driver.Properties
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version, and the backends that work here",
		Long:  jsonHelp(versionLong, versionJSON),
		Args:  exactArgs(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runVersion(cmd.Context(), a) },
	}
}

func runVersion(ctx context.Context, a *app) error {
	result := versionResult{
		Version: version, Commit: buildCommit(), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Root: a.global.root, Drivers: probeDrivers(ctx, a),
	}
	if err := ctx.Err(); err != nil {
		return doing(err, "trying the backends")
	}
	return a.result(result, result.print)
}

func (r versionResult) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "snapctl %s (commit %s, %s, %s)\nbackends on %s:\n",
		r.Version, r.Commit, r.Go, r.Platform, escape(r.Root))
	for _, d := range r.Drivers {
		verdict := "works"
		if !d.Available {
			verdict = escapeLine(d.Reason)
		}
		lines := []string{fmt.Sprintf("  %-9s %s", d.Name, verdict)}
		if d.Available {
			for _, line := range abilityLines(d.props) {
				lines = append(lines, fmt.Sprintf("  %-9s %s", "", line))
			}
		}
		if err == nil {
			_, err = fmt.Fprintln(w, strings.Join(lines, "\n"))
		}
	}
	return err
}

// buildCommit is the commit that the Go command found while building.
func buildCommit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			commit = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return commit + dirty
}

// probeDrivers tries each backend in a scratch directory on the file system of
// the store, so that the store itself is neither made nor touched.
func probeDrivers(ctx context.Context, a *app) []driverVerdict {
	var verdicts []driverVerdict
	for _, b := range all.Backends() {
		verdict := driverVerdict{Name: b.Name, Can: []string{}}
		props, err := a.probe(ctx, b)
		if err != nil {
			// A driver's own errors begin with its name.
			verdict.Reason = strings.TrimPrefix(faultText(err), b.Name+": ")
		} else {
			verdict.Available, verdict.props, verdict.Can = true, props, abilityNames(props)
			verdict.MaxParents, verdict.MaxName = props.MaxParents, props.MaxName
			verdict.MountWay = props.MountWay.String()
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts
}

// probe is probeDriver for the store of this command line. It writes beside the
// layers, so what works on a disk that is read-only is not known.
func (a *app) probe(ctx context.Context, b all.Backend) (driver.Properties, error) {
	if a.global.readOnly {
		return driver.Properties{}, errUntried
	}
	props, err := probeDriver(ctx, a.global.root, b)
	if errors.Is(err, syscall.EROFS) {
		err = fmt.Errorf("%w (%w)", errUntried, err)
	}
	return props, err
}

var errUntried = fmt.Errorf("not tried, as that would write: %w", driver.ErrReadOnly)

// hasStore reports whether there is something that may be a store at root.
func hasStore(root string) bool {
	_, err := os.Stat(filepath.Join(root, "layerkeep.json"))
	return err == nil
}
