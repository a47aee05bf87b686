package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/snapshotter"
)

// Snapshots whose names begin with @SCOPE/ belong to an engine that uses the
// store through a service. The engine knows nothing of what we do to them.

// scopeMark begins the names of engines' snapshots.
const scopeMark = "@"

// refuseMark keeps new names of ours apart from those of engines.
func refuseMark(name string) error {
	if !strings.HasPrefix(name, scopeMark) {
		return nil
	}
	return advise(as(errInvalid, fmt.Errorf("names that begin with %s are reserved for engines", scopeMark)), "choose another name")
}

// refuseEngines keeps an engine's snapshot as the engine has left it.
func refuseEngines(key string) error {
	scope, rest := snapshotter.ScopeOf(key)
	if scope == "" {
		return nil
	}
	return advise(
		fmt.Errorf("%w: it belongs to the engine %q, which calls it %q", errState, scope, rest),
		"do it in the engine; 'snapctl prepare KEY PARENT' makes a snapshot of your own on a committed one",
	)
}

// reservedKeys are the names that a removal holds.
func reservedKeys(keys []string) []string {
	names := []string{reservedMounts}
	for _, k := range keys {
		names = append(names, reservedSnapshot(k))
	}
	return names
}

// addScopeFlag adds --scope to a command that lists snapshots.
func addScopeFlag(a *app, cmd *cobra.Command, scope *string) {
	cmd.Flags().StringVar(scope, "scope", "", "list only what belongs to the engine `NAME`; - is what belongs to none")
	completeFlag(cmd, "scope", func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.completions(cmd.Context(), scopes, nil, prefix), cobra.ShellCompDirectiveNoFileComp
	})
}

// scopes lists the engines that have snapshots.
func scopes(ctx context.Context, st *store) ([]string, error) {
	infos, err := st.list(ctx)
	var names []string
	for _, info := range infos {
		if scope, _ := snapshotter.ScopeOf(info.Name); scope != "" && !slices.Contains(names, scope) {
			names = append(names, scope)
		}
	}
	return names, err
}

// inScope keeps those snapshots that --scope asks for.
func inScope(all []snapshotJSON, scope string) []snapshotJSON {
	return slices.DeleteFunc(all, func(s snapshotJSON) bool { return !wantsScope(s.Key, scope) })
}

// wantsScope reports whether --scope asks for a snapshot.
func wantsScope(key, scope string) bool {
	of, _ := snapshotter.ScopeOf(key)
	return scope == "" || scope == of || scope == "-" && of == ""
}
