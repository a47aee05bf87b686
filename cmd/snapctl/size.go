package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/service/config"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// A sizeFlag is the value of --size: bytes, 0 for no limit.
type sizeFlag int64

// addSizeFlag adds --size to a command.
func addSizeFlag(cmd *cobra.Command, size *sizeFlag) {
	cmd.Flags().Var(size, "size", "let the new writable snapshot take at most `SIZE` on the disk, for example 512M")
	completeFlag(cmd, "size", cobra.NoFileCompletions)
}

// String returns the flag's value in bytes; none is the empty text.
func (s *sizeFlag) String() string {
	if *s == 0 {
		return ""
	}
	return fmt.Sprint(int64(*s))
}

// Type names the flag's type in its help.
func (*sizeFlag) Type() string { return "SIZE" }

// Set takes a number of bytes, or of units of 1024 with a suffix: 4096, 512M,
// 2GiB.
func (s *sizeFlag) Set(text string) error {
	n, err := config.ParseSize(text)
	if err == nil {
		*s = sizeFlag(n)
	}
	return err
}

// limit adds the size to the labels of a new snapshot.
func (s sizeFlag) limit(labels map[string]string) map[string]string {
	if s == 0 {
		return labels
	}
	if labels == nil {
		labels = map[string]string{}
	}
	labels[snapshotter.LabelSize] = s.String()
	return labels
}

// checkQuota says, before anything is made, that the store cannot limit sizes,
// and which could.
func (st *store) checkQuota(ctx context.Context, a *app, limit sizeFlag) error {
	if limit == 0 || st.Properties().Quota {
		return nil
	}
	err := fmt.Errorf("%w: the %s backend cannot limit the size of a snapshot", driver.ErrUnsupported, st.DriverName())
	var able []string
	for _, b := range all.Backends() {
		if props, err := probeDriver(ctx, a.global.root, b); err == nil && props.Quota {
			able = append(able, b.Name)
		}
	}
	if len(able) == 0 {
		return advise(err, "no backend on this file system supports it; use a --root on btrfs; 'snapctl version' shows what each backend supports")
	}
	return advise(err, "make another store, with --root and with --driver "+strings.Join(able, " or ")+", which supports it")
}

// limitOf is the size limit of a snapshot in bytes, 0 for none.
func limitOf(labels map[string]string) int64 {
	limit, err := snapshotter.SizeLimit(labels)
	if err != nil {
		return 0 // the snapshotter takes no other
	}
	return limit
}

// limitText renders a limit for people.
func limitText(limit int64) string {
	if limit == 0 {
		return "-"
	}
	return size(limit)
}
