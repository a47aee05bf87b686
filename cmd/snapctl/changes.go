package main

import (
	"bufio"
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/diff"
)

const changesLong = `List the changes of the snapshot KEY against its parent, one a line: A, M or D for
added, modified or deleted, and the path. KEY may be active or committed.

In a path a backslash is \\, a newline \n, a tab \t, a carriage return \r, any other
byte that is no printable character \xHH, and an invisible character \uHHHH or
\UHHHHHHHH; so a line is a line, and different paths look different. In JSON the
path is as it is; one that is not UTF-8 is also there in base64, as "rawPath".`

const changesJSON = `{
  "key": "work",
  "changes": [
    {
      "kind": "A",
      "path": "/etc/new"
    }
  ]
}`

type changesResult struct {
	Key     string       `json:"key"`
	Changes []changeJSON `json:"changes"`
}

// changeJSON is one change in JSON.
type changeJSON struct {
	Kind string `json:"kind"`
	Path string `json:"path"`
	// RawPath is set when Path is not UTF-8, and so not exact.
	RawPath []byte `json:"rawPath,omitempty"`
}

func newChangesCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "changes KEY",
		Short:             "List the changes of a snapshot",
		Long:              jsonHelp(changesLong, changesJSON),
		Args:              exactArgs(1),
		ValidArgsFunction: a.complete(either(imageNames, allKeys()), argAt(0)),
		RunE:              func(cmd *cobra.Command, args []string) error { return runChanges(cmd.Context(), a, args[0]) },
	}
}

func runChanges(ctx context.Context, a *app, name string) error {
	return a.withStore(ctx, func(st *store) error {
		key, err := st.key(ctx, name)
		if err != nil {
			return doing(err, "looking up %q", name)
		}
		err = a.writeChanges(ctx, st, key)
		return doing(err, "listing the changes of the snapshot %q", key)
	})
}

func (a *app) writeChanges(ctx context.Context, st *store, key string) error {
	result := changesResult{Key: key, Changes: []changeJSON{}}
	out := bufio.NewWriter(a.Out)
	for c, err := range st.Changes(ctx, key) {
		if err != nil {
			return err
		}
		path := absolute(c)
		if a.global.json {
			result.Changes = append(result.Changes, newChangeJSON(c.Kind, path))
			continue
		}
		if _, err := fmt.Fprintf(out, "%s %s\n", c.Kind, escape(path)); err != nil {
			return err
		}
	}
	if a.global.json {
		return a.printJSON(result)
	}
	return out.Flush()
}

// absolute is the path of a change as a container sees it.
func absolute(c diff.Change) string {
	if c.Path == "." {
		return "/"
	}
	return "/" + c.Path
}

func newChangeJSON(kind diff.Kind, path string) changeJSON {
	j := changeJSON{Kind: kind.String(), Path: path}
	if !utf8.ValidString(path) {
		j.RawPath = []byte(path)
	}
	return j
}
