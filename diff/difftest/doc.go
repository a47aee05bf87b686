// Package difftest has helpers for tests of diffs: an oracle that is slow and
// obviously right, and a listing of changes that is easy to compare by eye.
//
//	want := difftest.Lines(difftest.Changes(oldTree, newTree))
//	got, err := difftest.Collect(diff.Compare(ctx, oldView, newView, diff.Options{}))
//	require.Equal(t, want, difftest.Lines(got))
package difftest
