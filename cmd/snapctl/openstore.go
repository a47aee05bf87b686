package main

import (
	"context"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// openHere opens the store, waiting for another process no longer than that:
// whoever waits for a store that is open so waits for the whole command.
func (a *app) openHere(ctx context.Context, wait time.Duration) (*layerkeep.Local, error) {
	if a.global.readOnlyGiven && a.global.additionalGiven {
		return nil, fmt.Errorf("%w: what comes from an additional store could not be recorded, so leave out --additional", snapshotter.ErrReadOnly)
	}
	return layerkeep.Open(ctx, a.global.root, snapshotter.Options{
		Driver: a.global.driver, ReadOnly: a.global.readOnly, Additional: a.global.additional, LockTimeout: wait, Logger: a.log,
		DriverOptions: driver.Options{Limits: a.limits.Limits()},
	})
}
