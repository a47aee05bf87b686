package main

import (
	"github.com/spf13/cobra"
)

const viewJSON = `{
  "key": "look",
  "kind": "view",
  "parent": "sha256:…",
  "image": "debian:12",
  "limit": 0
}`

func newViewCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "view KEY PARENT",
		Short:             "Make a read-only snapshot on a parent",
		Long:              jsonHelp("Make the view KEY of PARENT, an image or a committed snapshot. A view can be mounted\nread-only. It cannot be changed or committed. The command prints KEY.", viewJSON),
		Args:              exactArgs(2),
		ValidArgsFunction: a.complete(parents(), argAt(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPrepare(cmd.Context(), a, prepareOptions{key: args[0], parent: args[1], view: true})
		},
	}
}
