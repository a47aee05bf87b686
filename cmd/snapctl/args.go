package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// exactArgs, minArgs and rangeArgs are cobra's validators with our errors.
func exactArgs(n int) cobra.PositionalArgs { return rangeArgs(n, n) }

func minArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return checkArgs(cmd, args, n, len(args)) }
}

func rangeArgs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return checkArgs(cmd, args, least, most) }
}

func checkArgs(cmd *cobra.Command, args []string, least, most int) error {
	problem := ""
	switch {
	case len(args) < least:
		problem = fmt.Sprintf("%d more %s missing", least-len(args), plural(least-len(args), "argument is", "arguments are"))
	case len(args) > most:
		problem = fmt.Sprintf("unexpected argument %q", args[most])
	default:
		for i, arg := range args {
			if arg == "" {
				problem = fmt.Sprintf("argument %d is empty", i+1)
			}
		}
	}
	if problem == "" {
		return nil
	}
	return advise(usagef("%s: %s", commandName(cmd), problem), "usage: "+cmd.UseLine())
}

// unknownCommand refuses what is no command, with the nearest ones.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "'snapctl help' lists the commands"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean '" + strings.Join(near, "' or '") + "'?"
	}
	return advise(usagef("unknown command %q", args[0]), hint)
}

func helpFor(cmd *cobra.Command) string {
	return strings.Replace(cmd.CommandPath(), "snapctl", "snapctl help", 1)
}

// commandName is the command as it is called after "snapctl".
func commandName(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), "snapctl ")
}

// usageErrors gives the errors of cobra's own commands our kind.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return advise(usagef("%w", err), "usage: "+cmd.UseLine())
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		usageErrors(c)
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		Args:  rangeArgs(0, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, c := range cmd.Root().Commands() {
				if c.IsAvailableCommand() && len(args) == 0 {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), args)
			}
			return found.Help()
		},
	}
}
