package main

import (
	"context"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

const mountsLong = `Print how to mount the snapshot KEY by hand, as mount(8) commands for a shell. Run them
in this order. Without TARGET the commands contain the word TARGET; replace it with an
absolute path. A committed snapshot and a view give read-only mounts.

snapctl keeps no record of such a mount: 'snapctl ls' does not list it, and only
umount(8) unmounts it. Unmount it before you commit or remove KEY.`

const mountsJSON = `{
  "key": "work",
  "mounts": [
    {
      "type": "overlay",
      "source": "overlay",
      "options": [
        "rw",
        "lowerdir=/var/lib/layerkeep/overlay2/1/fs",
        "upperdir=/var/lib/layerkeep/overlay2/2/fs",
        "workdir=/var/lib/layerkeep/overlay2/2/work"
      ],
      "command": "LIBMOUNT_FORCE_MOUNT2=always mount -t overlay -o rw,… overlay TARGET"
    }
  ]
}`

type mountsResult struct {
	Key    string      `json:"key"`
	Mounts []mountLine `json:"mounts"`
}

// A mountLine is one mount as mount(8) takes it.
type mountLine struct {
	Type    string   `json:"type"`
	Source  string   `json:"source"`
	Options []string `json:"options"`
	Command string   `json:"command"`
}

func newMountsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "mounts KEY [TARGET]",
		Short:             "Print mount(8) commands for a snapshot",
		Long:              jsonHelp(mountsLong, mountsJSON),
		Args:              rangeArgs(1, 2),
		ValidArgsFunction: a.complete(allKeys(), argAt(0)),
		RunE: func(cmd *cobra.Command, args []string) error {
			target := "TARGET"
			if len(args) > 1 {
				var err error
				if target, err = filepath.Abs(args[1]); err != nil {
					return err
				}
			}
			return runMounts(cmd.Context(), a, args[0], target)
		},
	}
}

func runMounts(ctx context.Context, a *app, key, target string) error {
	return a.withStore(ctx, func(st *store) error {
		values, err := st.Mounts(ctx, key, driver.MountOptions{})
		if err != nil {
			return doing(err, "asking for the mounts of the snapshot %q", key)
		}
		result := mountsResult{Key: key, Mounts: []mountLine{}}
		for _, m := range values {
			result.Mounts = append(result.Mounts, newMountLine(m, target))
		}
		return a.result(result, func(w io.Writer) error {
			var commands []string
			for _, m := range result.Mounts {
				commands = append(commands, m.Command)
			}
			return rawLines(w, commands)
		})
	})
}

func newMountLine(m mount.Mount, target string) mountLine {
	return mountLine{Type: m.Type, Source: m.Source, Options: m.Strings(), Command: m.Command(target)}
}

// rawLines prints texts that are for a shell, which must get them as they are.
func rawLines(w io.Writer, texts []string) error {
	for _, t := range texts {
		if _, err := io.WriteString(w, t+"\n"); err != nil {
			return err
		}
	}
	return nil
}
