// Package layerlife is the life of layers, once for all backends: it checks
// what a call may do, calls the backend's hook, keeps the record, and says in
// every error which backend was doing what to which layer. Where the layers are
// is the business of a [Store].
//
// A backend has hooks, see [Backend], and gives them to [New]. What only it can
// do, such as telling which layer a path comes from, it adds to the [Driver]
// that it gets:
//
//	type vfs struct {
//		*layerlife.Driver
//		layerdir.Parts
//		*backend
//	}
package layerlife
