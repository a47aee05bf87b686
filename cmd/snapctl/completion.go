package main

import (
	"context"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver/all"
)

// completionPatience is how long the shell waits for a locked store.
const completionPatience = 300 * time.Millisecond

// A lister lists what can stand at one place of a command line, each text
// with its description behind a tab.
type lister func(ctx context.Context, st *store) ([]string, error)

// A position says whether the argument that comes after n others is one of
// those that a lister knows.
type position func(n int) bool

func everyArg(int) bool { return true }

func argAt(index int) position { return func(n int) bool { return n == index } }

// complete returns a completion function for the arguments at those places. A
// store that is missing or locked gives no completions, and is never made.
func (a *app) complete(list lister, at position) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if !at(len(args)) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completions(cmd.Context(), list, args, prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeThenFiles is complete for commands whose other arguments are files.
func (a *app) completeThenFiles(list lister, at, files position) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if files(len(args)) {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return a.complete(list, at)(cmd, args, prefix)
	}
}

func (a *app) completions(ctx context.Context, list lister, taken []string, prefix string) []string {
	if ctx == nil || a.global.address == "" && !hasStore(a.global.root) {
		return nil
	}
	var found []string
	err := a.withStoreWait(ctx, completionPatience, func(st *store) error {
		var err error
		found, err = list(ctx, st)
		return err
	})
	if err != nil {
		cobra.CompDebugln(err.Error(), false)
		return nil
	}
	used := map[string]bool{}
	for _, t := range taken {
		used[t] = true
	}
	var matching []string
	for _, f := range found {
		text, _, _ := strings.Cut(f, "\t")
		if strings.HasPrefix(text, prefix) && !used[text] && escape(text) == text {
			matching = append(matching, f)
		}
	}
	return matching
}

func completeFlag(cmd *cobra.Command, name string, fn cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(name, fn); err != nil {
		panic(err) // the flag was not defined: a mistake in this program
	}
}

func driverNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return all.Names(), cobra.ShellCompDirectiveNoFileComp
}

func imageNames(ctx context.Context, st *store) ([]string, error) {
	images, err := st.Images(ctx)
	var names []string
	for _, i := range images {
		names = append(names, i.Name+"\timage")
	}
	return names, err
}

// keys returns a lister of the snapshots of some kinds, all without any.
func keys(kinds ...snapshots.Kind) lister {
	return func(ctx context.Context, st *store) ([]string, error) {
		infos, err := st.list(ctx)
		var names []string
		for _, info := range infos {
			for _, k := range kinds {
				if info.Kind == k {
					names = append(names, info.Name+"\t"+kindName(k)+" snapshot")
				}
			}
		}
		return names, err
	}
}

func allKeys() lister {
	return keys(snapshots.KindActive, snapshots.KindView, snapshots.KindCommitted)
}

// either lists what both listers know.
func either(one, other lister) lister {
	return func(ctx context.Context, st *store) ([]string, error) {
		first, err := one(ctx, st)
		if err != nil {
			return nil, err
		}
		second, err := other(ctx, st)
		return append(first, second...), err
	}
}

func parents() lister { return either(imageNames, keys(snapshots.KindCommitted)) }

func mountTargets(ctx context.Context, st *store) ([]string, error) {
	records, err := st.mountRecords(ctx)
	var targets []string
	for _, r := range records {
		targets = append(targets, r.Target+"\t"+r.Name)
	}
	return targets, err
}
