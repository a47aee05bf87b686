package aufs

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// nlink returns the link count of a file at a path of the branch, without names
// that no view shows. Such names are pseudo-links: a hard link to a file of a
// lower branch has one more name in .wh..wh.plnk in the root of the branch.
// Names in translations do not count either, so a file with only such other
// names has the count 1.
func (b *branch) nlink(at string, st rootfd.Stat) (uint64, error) {
	if st.Nlink < 2 || st.IsDir() {
		return st.Nlink, nil
	}
	if owns, err := b.translated.owns(at, st); owns || err != nil {
		return 1, err
	}
	b.once.Do(func() { b.pseudo, b.linkErr = pseudoLinks(b.root) })
	if b.linkErr != nil {
		return 0, b.linkErr
	}
	return st.Nlink - min(b.pseudo[st.Ino], st.Nlink-1), nil
}

// pseudoLinks counts the names in the directory of pseudo-links by inode
// number.
func pseudoLinks(root *rootfd.Dir) (map[uint64]uint64, error) {
	d, err := root.OpenDir(whiteout.AUFSPseudo)
	if isMissing(err) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.Entries()
	if err != nil {
		return nil, err
	}
	links := map[uint64]uint64{}
	for _, e := range entries {
		links[e.Ino]++
	}
	return links, nil
}
