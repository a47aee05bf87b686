package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/layerkeep/layerkeep"
	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// reach opens the store of this command line: through the service that was
// named, through the one that has it open, or by itself.
func (a *app) reach(ctx context.Context, wait time.Duration) (layerkeep.Store, error) {
	if a.global.address != "" {
		r, err := a.dial(ctx, client.Dial, a.global.address, wait)
		if errors.Is(err, client.ErrNoAnswer) {
			return nil, advise(as(errState, hide(err)), "start it with 'snapctl serve', or leave out --address and "+addressEnv)
		}
		if err != nil {
			return nil, err
		}
		return r, a.checkRoot(r)
	}
	deadline := time.Now().Add(wait)
	for {
		holder, ok := snapshotter.HolderOf(a.global.root)
		if !ok || holder.Address == "" {
			return a.openHere(ctx, wait)
		}
		if err := checkOwner(a.global.root, holder); err != nil {
			return nil, err
		}
		r, dialErr := a.dial(ctx, client.DialTrusted, holder.Address, wait)
		switch {
		case dialErr == nil:
			return r, a.sameStore(r)
		case errors.Is(dialErr, client.ErrOtherUser):
			return nil, advise(as(errState, dialErr), "if you trust that service, name it with --address")
		case !errors.Is(dialErr, client.ErrNoAnswer):
			return nil, dialErr
		}
		// It is about to begin, or to end.
		o, err := a.openHere(ctx, shortWait)
		if err == nil || !errors.Is(err, snapshotter.ErrLocked) || time.Now().After(deadline) || ctx.Err() != nil {
			return o, err
		}
	}
}

// checkOwner refuses to follow the address in a store of another user: the
// service there says what is mounted, and could name any directory.
func checkOwner(root string, holder snapshotter.Holder) error {
	info, err := os.Stat(root)
	if err != nil {
		return doing(err, "looking at the store %s", root)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 || int(st.Uid) == os.Geteuid() {
		return nil
	}
	return advise(
		fmt.Errorf("%w: the store %s belongs to the user %d, and so may the service that has it open, at %s", errState, root, st.Uid, holder.Address),
		"if you trust that service, name it with --address",
	)
}

// shortWait is how long to wait for the lock of a service that does not answer,
// before it is asked again.
const shortWait = 200 * time.Millisecond

// hide takes from an error what it matches, and leaves its text.
func hide(err error) error { return errors.New(err.Error()) }

// dial connects to a service, and checks that it is one for this command line.
func (a *app) dial(ctx context.Context, connect func(context.Context, string) (*client.Client, error),
	address string, wait time.Duration,
) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c, err := connect(ctx, address)
	if err != nil {
		return nil, err
	}
	if d := a.global.driver; d != "" && d != c.Info().Driver {
		err := fmt.Errorf("open store %s: %w: it was made with %s, not %s", c.Info().Root, snapshotter.ErrOtherDriver, c.Info().Driver, d)
		return nil, errors.Join(err, c.Close())
	}
	if a.global.additionalGiven {
		err := usagef("--additional cannot be used here: the service at %s has the store open, and additional stores are a setting of the service", address)
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// checkRoot refuses a service of another store than the one that was asked for.
func (a *app) checkRoot(r *client.Client) error {
	if !a.global.rootGiven {
		a.global.root = r.Root()
		return nil
	}
	root, err := filepath.Abs(a.global.root)
	if real, evalErr := filepath.EvalSymlinks(root); evalErr == nil {
		root = real
	}
	if err == nil && root != r.Root() {
		err = advise(
			fmt.Errorf("%w: the service at %s has the store %s, not %s", errState, r.Info().Address, r.Root(), root),
			"leave out --root or --address",
		)
	}
	if err != nil {
		return errors.Join(err, r.Close())
	}
	return nil
}

// sameStore refuses a service, found through the lock of a store, that has
// another one: the lock is older than what listens there now. The service may
// know the store's directory by another path.
func (a *app) sameStore(r *client.Client) error {
	ours, err := os.Stat(a.global.root)
	if err == nil {
		theirs, theirErr := os.Stat(r.Root())
		if theirErr == nil && os.SameFile(ours, theirs) {
			return nil
		}
		err = advise(
			fmt.Errorf("%w: the service at %s, which the lock of %s names, has the store %s", errState, r.Info().Address, a.global.root, r.Root()),
			"if you mean that store, leave out --root and name the service with --address",
		)
	}
	return errors.Join(err, r.Close())
}

// explainLost says of a service that was lost what that means.
func explainLost(s layerkeep.Store, err error) error {
	r, remote := s.(*client.Client)
	if !remote || !errors.Is(err, client.ErrNoAnswer) {
		return err
	}
	return advise(doing(err, "the service at %s was lost", r.Info().Address),
		"'snapctl ls' shows whether this was done before that; if not, run it again")
}
