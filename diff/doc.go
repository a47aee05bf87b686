// Package diff finds what changed between two trees.
//
// It has the change model ([Change]), the read-only interface to a tree that
// backends implement ([View]), and [Compare], which walks two views side by
// side and yields the changes in one canonical order. The package knows no tar
// streams and no whiteouts: a View has already resolved those.
//
//	for change, err := range diff.Compare(ctx, parents, merged, diff.Options{}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(change.Kind, "/"+change.Path) // "M /etc/passwd"
//	}
package diff
