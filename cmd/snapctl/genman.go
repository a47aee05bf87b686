package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newGenManCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "gen-man DIR",
		Short:  "Write the man pages into a directory",
		Hidden: true,
		Args:   exactArgs(1),
		RunE:   func(cmd *cobra.Command, args []string) error { return runGenMan(a, cmd.Root(), args[0]) },
	}
}

// runGenMan writes one page for each command, with no date in it, so that the
// same version gives the same pages.
func runGenMan(a *app, root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root.DisableAutoGenTag = true
	date := demoTime()
	err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "snapctl " + version, Manual: "Layerkeep", Date: &date}, dir)
	if err != nil {
		return doing(err, "writing the man pages to %q", dir)
	}
	a.note("the man pages are in %s", dir)
	return nil
}
