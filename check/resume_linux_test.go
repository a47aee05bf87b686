package check_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/check"
)

// part runs a check from a position on. It stops the check after n things, or
// lets it run to the end if n < 0.
func (p place) part(t *testing.T, opts check.Options, n int) (reached []check.Position, found []check.Finding, sum check.Summary) {
	t.Helper()
	snaps, images := p.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opts.Reached = func(at check.Position, so check.Summary) {
		reached, sum = append(reached, at), so
		require.Len(t, found, so.Findings, "what is reached has been told")
		if len(reached) == n {
			cancel()
		}
	}
	end, err := check.Run(ctx, snaps, images, opts, func(f check.Finding) { found = append(found, f) })
	if n < 0 {
		require.NoError(t, err)
		sum = end
	} else {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoError(t, snaps.Close())
	return reached, found, sum
}

func TestACheckThatWasCutShortGoesOn(t *testing.T) {
	p := newPlace(t, "overlay2")
	blobs := filepath.Join(p.root, "content/blobs/sha256")
	rest := []byte("of no image")
	require.NoError(t, os.WriteFile(filepath.Join(blobs, digest.FromBytes(rest).Encoded()), rest, 0o600))
	p.requireParts(t, 0, func(whole, parts check.Summary) { require.Equal(t, whole, parts, "nothing is read twice") })

	require.NoError(t, os.Remove(filepath.Join(p.layer(t, p.keys(t)[0]), "fs/base/a")))
	snaps, images := p.open(t)
	img, err := images.Image(t.Context(), "test:1")
	require.NoError(t, err)
	require.NoError(t, snaps.Close())
	require.NoError(t, os.Remove(filepath.Join(blobs, img.Config.Digest.Encoded())))
	require.NoError(t, os.WriteFile(filepath.Join(blobs, digest.FromString("something else").Encoded()), rest, 0o600))
	p.requireParts(t, 1, func(whole, parts check.Summary) {
		// A layer above damage may be compared before the damage is known, and may be
		// sound.
		whole.Bytes, parts.Bytes, whole.Unread, parts.Unread = 0, 0, 0, 0
		require.Equal(t, whole, parts)
	})
}

// requireParts fails unless a check that is stopped anywhere and then continued
// has the same findings as a check without a stop. There must be at least so
// many things.
func (p place) requireParts(t *testing.T, least int, same func(whole, parts check.Summary)) {
	t.Helper()
	for _, opts := range []check.Options{{}, {ReadData: true}, {ReadData: true, Shared: true}, {ReadData: true, Names: []string{"work", "test:1"}}} {
		all, findings, sum := p.part(t, opts, -1)
		require.GreaterOrEqual(t, len(findings), least)
		require.Greater(t, len(all), 5)
		for n := 1; n < len(all); n++ {
			reached, found, before := p.part(t, opts, n)
			require.Equal(t, all[:n], reached)
			on := opts
			on.After = reached[n-1]
			further, more, after := p.part(t, on, -1)
			require.Equal(t, all[n:], further)
			require.Equal(t, findings, append(found, more...))
			same(sum, before.Plus(after))
		}
	}
}

// The thing that was checked last may be gone, and new things may exist.
func TestACheckGoesOnAlthoughTheStoreHasChanged(t *testing.T) {
	p := newPlace(t, "overlay2")
	all, _, _ := p.part(t, check.Options{}, -1)
	snaps, _ := p.open(t)
	require.NoError(t, snaps.Remove(t.Context(), "loose"))
	require.NoError(t, snaps.Create(t.Context(), "a new one", ""))
	require.NoError(t, snaps.Close())
	for n := range all {
		further, found, _ := p.part(t, check.Options{After: all[n]}, -1)
		require.Empty(t, found)
		require.LessOrEqual(t, len(further), len(all)-n)
		require.NotContains(t, further, all[n])
	}
}

func TestAPositionThatNoCheckHasToldIsRefused(t *testing.T) {
	p := newPlace(t, "overlay2")
	snaps, images := p.open(t)
	for _, bad := range []check.Position{"x", "snapshot", "snapshot:", "snapshot:x:y", "snapshot:-1:y", "snapshot:1", ":", "image"} {
		_, err := check.Run(t.Context(), snaps, images, check.Options{After: bad}, func(check.Finding) {})
		require.ErrorIs(t, err, check.ErrNoPosition, "%q", string(bad))
	}
	for _, good := range []check.Position{"image:", "snapshot:0:", "snapshot:99999:x:y", "blob:\xff", "layer:9"} {
		_, err := check.Run(t.Context(), snaps, images, check.Options{After: good}, func(check.Finding) {})
		require.NoError(t, err, "%q", string(good))
	}
}
