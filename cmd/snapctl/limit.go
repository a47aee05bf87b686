package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/internal/service/config"
)

// addLimitFlag adds --limit to a command that unpacks layers.
func (a *app) addLimitFlag(cmd *cobra.Command) {
	cmd.Flags().Var((*limitFlag)(&a.limits), "limit", "refuse layers that exceed `LIMITS`, for example bytes=2TiB,memory=1GiB; see 'snapctl help apply'")
	completeFlag(cmd, "limit", cobra.NoFileCompletions)
}

// A limitFlag is the value of --limit. Given again, it adds to what was given
// before.
type limitFlag config.Limits

func (f *limitFlag) String() string { return string(*f) }
func (f *limitFlag) Type() string   { return "LIMITS" }

// Set takes what [config.ParseLimits] reads.
func (f *limitFlag) Set(text string) error {
	if text == "" {
		return errors.New("it names no limit")
	}
	if *f != "" {
		text = string(*f) + "," + text
	}
	return (*config.Limits)(f).Set(text)
}

// checkLimits refuses limits for a store that a service has open: it has its
// own.
func (a *app) checkLimits(st *store) error {
	if _, here := st.openHere(); here || a.limits == "" {
		return nil
	}
	return advise(as(errState, errors.New("a service has the store open, and --limit cannot change the limits of the service")),
		"leave out --limit, and give the service's configuration a line limit = \""+string(a.limits)+"\"")
}
