package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/service"
	"github.com/layerkeep/layerkeep/service/config"
)

const (
	defaultAddress = "/run/layerkeep/layerkeep.sock"

	serveLong = `Serve the store to engines, as a containerd snapshotter, on the unix socket
--address, until SIGTERM or an interrupt; calls in flight are finished.`
)

func newServeCommand(a *app) *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "serve [--address SOCKET]",
		Short: "Serve the store to engines",
		Long:  serveLong,
		Args:  exactArgs(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runServe(cmd.Context(), a, address) },
	}
	cmd.Flags().StringVar(&address, "address", defaultAddress, "listen on the unix socket `SOCKET`")
	return cmd
}

func runServe(ctx context.Context, a *app, address string) error {
	return a.withStore(context.WithoutCancel(ctx), func(st *store) error {
		server, err := service.New(st.Snapshotter, service.Options{Config: config.Default(), Logger: a.log, Version: version})
		if err != nil {
			return err
		}
		l, err := service.Listen(address)
		if err != nil {
			return doing(err, "listening on %s", address)
		}
		return server.Serve(ctx, l)
	})
}
