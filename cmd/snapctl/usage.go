package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

const usageLong = `Show what snapshots take on the disk, each without its parents: allocated bytes, inodes,
and for a writable snapshot its size limit. Without KEY the command shows all snapshots
and their sum.`

const usageJSON = `{
  "snapshots": [
    {
      "key": "work",
      "kind": "active",
      "bytes": 4096,
      "inodes": 2,
      "limit": 536870912
    }
  ],
  "bytes": 4096,
  "inodes": 2
}`

// A usageResult holds the snapshots and their sum.
type usageResult struct {
	Snapshots []usageRow `json:"snapshots"`
	Bytes     int64      `json:"bytes"`
	Inodes    int64      `json:"inodes"`
}

type usageRow struct {
	Key    string `json:"key"`
	Kind   string `json:"kind"`
	Bytes  int64  `json:"bytes"`
	Inodes int64  `json:"inodes"`
	Limit  int64  `json:"limit"`
}

func newUsageCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "usage [KEY]",
		Short:             "Show what snapshots take on the disk",
		Long:              jsonHelp(usageLong, usageJSON),
		Args:              rangeArgs(0, 1),
		ValidArgsFunction: a.complete(either(imageNames, allKeys()), argAt(0)),
		RunE:              func(cmd *cobra.Command, args []string) error { return runUsage(cmd.Context(), a, args) },
	}
}

func runUsage(ctx context.Context, a *app, names []string) error {
	return a.withStore(ctx, func(st *store) error {
		keys, err := st.keysOrAll(ctx, names)
		if err != nil {
			return err
		}
		result := usageResult{Snapshots: []usageRow{}}
		for _, key := range keys {
			row, err := st.usage(ctx, key)
			if err != nil {
				return doing(err, "measuring the snapshot %q", key)
			}
			result.Snapshots = append(result.Snapshots, row)
			result.Bytes += row.Bytes
			result.Inodes += row.Inodes
		}
		return a.result(result, func(w io.Writer) error { return result.print(w, len(names) == 0) })
	})
}

func (st *store) keysOrAll(ctx context.Context, names []string) ([]string, error) {
	var keys []string
	for _, name := range names {
		key, err := st.key(ctx, name)
		if err != nil {
			return nil, doing(err, "looking up %q", name)
		}
		keys = append(keys, key)
	}
	if len(names) > 0 {
		return keys, nil
	}
	infos, err := st.list(ctx)
	for _, info := range infos {
		keys = append(keys, info.Name)
	}
	return keys, err
}

func (st *store) usage(ctx context.Context, key string) (usageRow, error) {
	info, err := st.Stat(ctx, key)
	if err != nil {
		return usageRow{}, err
	}
	u, err := st.Usage(ctx, key)
	return usageRow{
		Key: key, Kind: kindName(info.Kind), Bytes: u.Size, Inodes: u.Inodes, Limit: limitOf(info.Labels),
	}, err
}

func (r usageResult) print(w io.Writer, total bool) error {
	var rows [][]string
	row := func(key, kind string, bytes, inodes int64, limit string) {
		rows = append(rows, []string{key, kind, fmt.Sprint(bytes), size(bytes), fmt.Sprint(inodes), limit})
	}
	for _, s := range r.Snapshots {
		row(s.Key, s.Kind, s.Bytes, s.Inodes, limitText(s.Limit))
	}
	if total {
		row("total", "", r.Bytes, r.Inodes, "")
	}
	return table(w, []string{"KEY", "KIND", "BYTES", "SIZE", "INODES", "LIMIT"}, rows)
}
