package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"
)

// listOf lists n snapshots, the later by name the older, and returns what is
// printed, and how many lines were after the first limit of them.
func listOf(t *testing.T, n int, asJSON bool) (text string, early int, all []snapshotJSON) {
	t.Helper()
	var out bytes.Buffer
	a := &app{}
	a.Out, a.global.json = &out, asJSON
	l := newListing(a)
	for i := range n {
		info := snapshots.Info{
			Name: fmt.Sprintf("<%05d>", i), Kind: snapshots.KindCommitted,
			Created: time.Unix(int64(1_000_000-i), 0),
		}
		s := newSnapshotJSON(info, map[string][]string{"<00001>": {"app:1"}}, nil)
		all = append(all, s)
		require.NoError(t, l.add(info, s))
		require.LessOrEqual(t, len(l.pending), listingLimit, "what is in memory")
		if i == listingLimit {
			early = strings.Count(out.String(), "\n")
		}
	}
	require.NoError(t, l.end())
	return out.String(), early, all
}

func TestAListIsOneJSONObjectHoweverItIsPrinted(t *testing.T) {
	for _, n := range []int{0, 1, 3, listingLimit, listingLimit + 1, 3*listingLimit + 5} {
		got, _, all := listOf(t, n, true)
		if n <= listingLimit {
			slices.Reverse(all) // oldest first
		}
		var want bytes.Buffer
		a := &app{}
		a.Out = &want
		require.NoError(t, a.printJSON(struct {
			Snapshots []snapshotJSON `json:"snapshots"`
		}{append([]snapshotJSON{}, all...)}))
		require.Equal(t, want.String(), got, "%d snapshots", n)
	}
}

func TestALongListBeginsBeforeItIsRead(t *testing.T) {
	text, early, _ := listOf(t, 5*listingLimit, false)
	require.Greater(t, early, listingLimit)
	require.Equal(t, 1+5*listingLimit, strings.Count(text, "\n"))
	require.Equal(t, 1, strings.Count(text, "KEY"))
	require.Less(t, strings.Index(text, "<00000>"), strings.Index(text, "<04999>"), "in the order of keys")

	text, early, _ = listOf(t, 10, false)
	require.Zero(t, early)
	require.Less(t, strings.Index(text, "<00009>"), strings.Index(text, "<00000>"), "oldest first")
}
