// Package difftest holds what tests of diffs share: an oracle that is slow and
// obviously right, and a listing of changes to compare by eye.
//
//	want := difftest.Lines(difftest.Changes(oldTree, newTree))
//	got, err := difftest.Collect(diff.Compare(ctx, oldView, newView, diff.Options{}))
//	require.Equal(t, want, difftest.Lines(got))
package difftest
