package errkind_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/errkind"
)

var errCause, errKind, errOther = errors.New("cause"), errors.New("kind"), errors.New("other")

func TestAnErrorKeepsItsTextAndWhatItMatches(t *testing.T) {
	inner := fmt.Errorf("open: %w", &fs.PathError{Op: "open", Path: "/x", Err: errCause})
	err := errkind.As(inner, errKind, errOther)
	require.EqualError(t, err, inner.Error())
	for _, kind := range []error{errCause, errKind, errOther, inner} {
		require.ErrorIs(t, err, kind)
	}
	var path *fs.PathError
	require.ErrorAs(t, fmt.Errorf("more: %w", err), &path)
	require.NoError(t, errkind.As(nil, errKind))
}

func TestOnlyHidesWhatTheErrorMatches(t *testing.T) {
	inner := fmt.Errorf("open: %w", errCause)
	err := errkind.Only(inner, errKind)
	require.EqualError(t, err, inner.Error())
	require.ErrorIs(t, err, errKind)
	require.NotErrorIs(t, err, errCause)
	require.NoError(t, errkind.Only(nil, errKind))
}
