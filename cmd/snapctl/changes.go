package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/diff"
)

const changesLong = `List the changes of the snapshot KEY against its parent, one on each line: A for added,
M for modified or D for deleted, and the path. KEY may be active or committed.

Special characters in a path are escaped, so that each change is one line and different
paths look different: a backslash is \\, a newline \n, a tab \t, a carriage return \r,
any other unprintable byte \xHH, and an invisible character \uHHHH or \UHHHHHHHH. JSON
has the path unescaped. For a path that is not UTF-8, JSON also has "rawPath", the path
in base64.`

const changesJSON = `{
  "key": "work",
  "changes": [
    {
      "kind": "A",
      "path": "/etc/new"
    }
  ]
}`

// changesResult is the object of --json; see jsonChanges.
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
		err = a.writeChanges(key, st.Changes(ctx, key))
		return doing(err, "listing the changes of the snapshot %q", key)
	})
}

// writeChanges prints changes as they come and keeps none. After an error it
// has printed those before it; the object of --json is not closed then, and
// nothing is printed at all when the error comes first.
func (a *app) writeChanges(key string, changes iter.Seq2[diff.Change, error]) (err error) {
	out := newLineWriter(a.Out)
	defer func() { err = errors.Join(err, doing(out.Flush(), "writing to standard output")) }()
	list := changeList(textChanges{out})
	if a.global.json {
		list = &jsonChanges{out: out, key: key}
	}
	for c, err := range changes {
		if err != nil {
			return err
		}
		if err := list.add(c.Kind, absolute(c)); err != nil {
			return err
		}
	}
	return list.end()
}

// A changeList prints changes one by one.
type changeList interface {
	add(kind diff.Kind, path string) error
	end() error
}

type textChanges struct{ out io.Writer }

func (l textChanges) add(kind diff.Kind, path string) error {
	_, err := fmt.Fprintf(l.out, "%s %s\n", kind, escape(path))
	return err
}

func (textChanges) end() error { return nil }

// jsonChanges writes a changesResult, as encoding/json would indent it, member
// by member.
type jsonChanges struct {
	out   io.Writer
	key   string
	begun bool
}

func (l *jsonChanges) add(kind diff.Kind, path string) error {
	before := ",\n    "
	if !l.begun {
		before = l.head() + "\n    "
	}
	l.begun = true
	_, err := io.WriteString(l.out, before+indented(newChangeJSON(kind, path), "    "))
	return err
}

func (l *jsonChanges) end() error {
	tail := "\n  ]\n}\n"
	if !l.begun {
		tail = l.head() + "]\n}\n"
	}
	_, err := io.WriteString(l.out, tail)
	return err
}

func (l *jsonChanges) head() string {
	return "{\n  \"key\": " + indented(l.key, "") + ",\n  \"changes\": ["
}

// indented is a value in JSON, its further lines indented by prefix.
func indented(v any, prefix string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, "  ")
	_ = enc.Encode(v) // strings and bytes: cannot fail
	return strings.TrimSuffix(b.String(), "\n")
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
