package image

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestWhatOneImportMadeAndAnotherWantsStays(t *testing.T) {
	p := newPins()
	ctx := context.Background()
	require.NoError(t, p.pin(ctx, "a"))
	p.made("a")
	require.NoError(t, p.pin(ctx, "a"))
	require.False(t, p.unpin("a"), "the other one still wants it")
	require.True(t, p.unpin("a"), "nobody wants it, and no image owns it")
	p.gone("a")

	require.NoError(t, p.pin(ctx, "a"))
	require.False(t, p.unpin("a"), "it was there before")

	require.NoError(t, p.pin(ctx, "b"))
	p.made("b")
	p.keep([]string{"b"})
	require.False(t, p.unpin("b"), "an image owns it")
}

func TestACollectionGivesWayToImports(t *testing.T) {
	p := newPins()
	gen := p.generation()
	require.NoError(t, p.pin(t.Context(), "a"))
	ok, stale := p.claim("a", gen)
	require.False(t, ok)
	require.False(t, stale)
	p.keep([]string{"a"})
	p.unpin("a")
	ok, stale = p.claim("a", gen)
	require.False(t, ok)
	require.True(t, stale, "an image has come since the collection has looked")
	ok, _ = p.claim("a", p.generation())
	require.True(t, ok)
	ok, _ = p.claim("a", p.generation())
	require.False(t, ok, "somebody removes it already")
	p.gone("a")
}

func TestAPinWaitsForARemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPins()
		ok, _ := p.claim("a", p.generation())
		require.True(t, ok)
		ctx, cancel := context.WithCancel(t.Context())
		cancelled, pinned := make(chan error, 1), make(chan error, 1)
		go func() { cancelled <- p.pin(ctx, "a") }()
		go func() { pinned <- p.pin(t.Context(), "a") }()
		synctest.Wait()
		require.Empty(t, pinned)
		cancel()
		require.ErrorIs(t, <-cancelled, context.Canceled)
		p.gone("a")
		require.NoError(t, <-pinned)
	})
}
