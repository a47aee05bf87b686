// Package layerdir stores layers as directories. All backends that have one
// directory for each layer share it.
//
// A store is one directory. A layer is a directory in it, named after the
// layer's ID. It has the record layer.json and the files of the backend. Names
// that start with a dot are not layers: .new- is a layer that is being made,
// .trash- is a removed layer, and .old- is a directory that another one
// replaced. One rename therefore makes a layer appear, disappear or be
// replaced.
//
//	s, err := layerdir.Open("/var/lib/layerkeep/vfs")
//	err = s.Create("1", layerdir.Meta{}, func(dir string) error {
//		return os.Mkdir(filepath.Join(dir, "tree"), 0o755)
//	})
package layerdir
