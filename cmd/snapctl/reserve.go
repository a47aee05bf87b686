package main

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep"
	"github.com/layerkeep/layerkeep/client"
)

// The names that commands reserve which look at something first and act then.
// They are taken all at once, and then released one by one, so nobody waits for
// who waits.

// reservedMounts is for who makes mounts, or forgets those that are gone: a
// mount that is being made looks as if it were gone.
const reservedMounts = "mounts"

// reservedSnapshot is for who mounts a snapshot or does what must not be done
// to a mounted one.
func reservedSnapshot(key string) string { return "snapshot/" + key }

// reserve keeps names from other commands that reserve them.
func (st *store) reserve(ctx context.Context, names ...string) (layerkeep.Reservation, error) {
	r, err := st.Reserve(ctx, lockTimeout, names...)
	if errors.Is(err, errdefs.ErrUnavailable) && !errors.Is(err, client.ErrNoAnswer) {
		err = advise(as(errState, err), "wait until it has ended, then run this again")
	}
	return r, err
}
