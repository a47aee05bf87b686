package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
)

func TestEveryKindOfErrorHasItsExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, exitDone},
		{errors.New("anything else"), exitFailed},
		{syscall.ENOSPC, exitFailed},
		{syscall.EDQUOT, exitFailed},
		{syscall.EROFS, exitFailed},
		{fs.ErrPermission, exitFailed},
		{snapshotter.ErrDamaged, exitDamaged},
		{errdefs.ErrDataLoss, exitDamaged},
		{errors.Join(client.ErrNoAnswer, errdefs.ErrUnavailable), exitFailed},
		{errors.Join(errInterrupted, errdefs.ErrNotFound), exitInterrupted},
		{usagef("no such flag"), exitUsage},
		{driver.ErrNotFound, exitNotFound},
		{errdefs.ErrNotFound, exitNotFound},
		{image.ErrNotFound, exitNotFound},
		{image.ErrNoMatch, exitNotFound},
		{mount.ErrNotMounted, exitNotFound},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}, exitNotFound},
		{driver.ErrExists, exitExists},
		{errdefs.ErrAlreadyExists, exitExists},
		{image.ErrExists, exitExists},
		{driver.ErrSealed, exitState},
		{driver.ErrNotSealed, exitState},
		{driver.ErrBusy, exitState},
		{mount.ErrBusy, exitState},
		{mount.ErrNotDirectory, exitState},
		{image.ErrNotCommitted, exitState},
		{errdefs.ErrFailedPrecondition, exitState},
		{errdefs.ErrUnavailable, exitState},
		{snapshotter.ErrLocked, exitState},
		{snapshotter.ErrOtherDriver, exitState},
		{snapshotter.ErrNewerStore, exitState},
		{snapshotter.ErrNotStore, exitState},
		{driver.ErrInvalidLayer, exitInvalid},
		{driver.ErrDigest, exitInvalid},
		{image.ErrInvalid, exitInvalid},
		{image.ErrDigest, exitInvalid},
		{image.ErrMissingBlob, exitInvalid},
		{image.ErrMediaType, exitInvalid},
		{image.ErrAmbiguous, exitInvalid},
		{errdefs.ErrInvalidArgument, exitInvalid},
		{driver.ErrUnsupported, exitUnsupported},
		{mount.ErrUnsupported, exitUnsupported},
		{syscall.ENOSYS, exitUnsupported},
		{errNoDemo, exitUnsupported},
		{fmt.Errorf("wrapped: %w", advise(driver.ErrBusy, "unmount it")), exitState},
		{as(errInvalid, fs.ErrNotExist), exitInvalid},
	} {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) { require.Equal(t, c.code, exitCode(c.err)) })
	}
}

func TestHelpListsEveryExitCode(t *testing.T) {
	help := newRootCommand(streams{}).Long
	for code := exitDone; code <= exitUnsupported; code++ {
		require.Regexp(t, fmt.Sprintf(`(?m)^  %d  \w`, code), help)
	}
}

func TestAnErrorIsOneLineWithAdvice(t *testing.T) {
	err := doing(errors.Join(driver.ErrBusy, errors.New("and\nmore \x1b[31m")), "removing %q", "a\nb")
	require.Equal(t, `snapctl: removing "a\nb": layer is busy; and; more \x1b[31m (unmount it first, then run this again)`, faultLine(err))
	require.Equal(t, `snapctl: x (do y)`, faultLine(fmt.Errorf("%w", advise(errors.New("x"), "do y"))))
}

func TestAdviceDoesNotHideTheKindOfAnError(t *testing.T) {
	err := as(errUsage, advise(fs.ErrNotExist, "look elsewhere"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, err, errUsage)
	require.Equal(t, fs.ErrNotExist.Error(), err.Error())
	require.NoError(t, advise(nil, "x"))
	require.NoError(t, as(errUsage, nil))
	require.NoError(t, doing(nil, "x"))
}

func TestEveryCommandHasHelpAndCompletion(t *testing.T) {
	for _, c := range newRootCommand(streams{}).Commands() {
		require.NotEmpty(t, c.Short, c.Name())
		require.False(t, strings.HasSuffix(c.Short, "."), c.Name())
	}
}
