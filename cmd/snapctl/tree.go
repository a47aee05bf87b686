package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

const treeJSON = `{
  "roots": [
    {
      "key": "sha256:…",
      "kind": "committed",
      "images": [
        "debian:12"
      ],
      "mounts": [],
      "children": [
        {
          "key": "work",
          "kind": "active",
          "images": [],
          "mounts": [
            "/mnt"
          ],
          "children": []
        }
      ]
    }
  ]
}`

type treeResult struct {
	Roots []*treeNode `json:"roots"`
}

// A treeNode is a snapshot with those that are built on it.
type treeNode struct {
	Key      string      `json:"key"`
	Kind     string      `json:"kind"`
	Images   []string    `json:"images"`
	Mounts   []string    `json:"mounts"`
	Children []*treeNode `json:"children"`
}

func newTreeCommand(a *app) *cobra.Command {
	var scope string
	cmd := &cobra.Command{
		Use:               "tree [--scope NAME]",
		Short:             "Draw the snapshots as a tree",
		Long:              jsonHelp("Draw the snapshots as a tree: each below its parent, with its images and with the\ndirectories where it is mounted. Digests are shortened; --json has them in full.", treeJSON),
		Args:              exactArgs(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runTree(cmd.Context(), a, scope) },
	}
	addScopeFlag(a, cmd, &scope)
	return cmd
}

func runTree(ctx context.Context, a *app, scope string) error {
	return a.withStore(ctx, func(st *store) error {
		all, err := st.describe(ctx)
		if err != nil {
			return err
		}
		result := treeResult{Roots: buildTree(inScope(all, scope))}
		return a.result(result, func(w io.Writer) error {
			if len(result.Roots) == 0 {
				a.note("there are no snapshots yet; 'snapctl import' brings an image in")
			}
			for _, root := range result.Roots {
				if err := root.draw(w, "", ""); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// buildTree puts each snapshot below its parent and returns those without one,
// all in the order of the list.
func buildTree(all []snapshotJSON) []*treeNode {
	nodes := map[string]*treeNode{}
	for _, s := range all {
		nodes[s.Key] = &treeNode{Key: s.Key, Kind: s.Kind, Images: s.Images, Mounts: s.Mounts, Children: []*treeNode{}}
	}
	roots := []*treeNode{}
	for _, s := range all {
		if p := nodes[s.Parent]; p != nil {
			p.Children = append(p.Children, nodes[s.Key])
		} else {
			roots = append(roots, nodes[s.Key])
		}
	}
	return roots
}

// draw prints the node after first and everything below it after rest.
func (n *treeNode) draw(w io.Writer, first, rest string) error {
	if _, err := fmt.Fprintln(w, first+n.label()); err != nil {
		return err
	}
	for i, c := range n.Children {
		branch, below := "├── ", "│   "
		if i == len(n.Children)-1 {
			branch, below = "└── ", "    "
		}
		if err := c.draw(w, rest+branch, rest+below); err != nil {
			return err
		}
	}
	return nil
}

func (n *treeNode) label() string {
	label := escape(short(n.Key)) + "  " + n.Kind
	if len(n.Images) > 0 {
		label += "  [" + escape(strings.Join(n.Images, ", ")) + "]"
	}
	if len(n.Mounts) > 0 {
		label += "  on " + escape(strings.Join(n.Mounts, ", "))
	}
	return label
}
