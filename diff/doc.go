// Package diff says what changed between two trees.
//
// It holds the change model ([Change]), the read-only picture of a tree that
// backends hand in ([View]), and [Compare], which walks two views side by side
// and yields the changes in one canonical order. It knows nothing of tar
// streams, and nothing of how a backend writes whiteouts: a View has resolved
// those already.
//
//	for change, err := range diff.Compare(ctx, parents, merged, diff.Options{}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(change.Kind, "/"+change.Path)
//	}
package diff
