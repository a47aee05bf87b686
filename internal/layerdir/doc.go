// Package layerdir keeps the directories of layers: what the backends that
// store a layer as a directory have in common.
//
// A store is one directory. A layer is the directory ID in it, with layer.json
// beside whatever the backend puts there. Names that start with a dot are not
// layers: what is being made (.new-), what was removed (.trash-) and what
// another directory took the place of (.old-). A layer therefore appears,
// disappears and is replaced by one rename.
//
//	s, err := layerdir.Open("/var/lib/layerkeep/vfs")
//	err = s.Create("1", layerdir.Meta{}, func(dir string) error {
//		return os.Mkdir(filepath.Join(dir, "tree"), 0o755)
//	})
package layerdir
