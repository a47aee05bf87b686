// Package layerlife implements the life cycle of layers once for all backends.
// It checks whether the state of a layer allows a call, calls the hook of the
// backend, and writes the record. It adds the backend, the action and the layer
// to every error. A [Store] stores the layers.
//
// A backend implements the hooks of [Backend] and passes them to [New]. It adds
// methods of its own, such as one that finds the layer of a path, to the
// [Driver] that New returns:
//
//	type vfs struct {
//		*layerlife.Driver
//		layerdir.Parts
//		*backend
//	}
package layerlife
