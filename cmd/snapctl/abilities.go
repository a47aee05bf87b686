package main

import (
	"fmt"
	"strings"

	"github.com/layerkeep/layerkeep/driver"
)

// An ability is a fact of a backend by the name it has in JSON, with what it
// means to the user of a store.
type ability struct {
	name, text string
	has        bool
}

// abilities lists what a backend may be able to do, in the order in which it is
// shown.
func abilities(p driver.Properties) []ability {
	return []ability{
		{"mountsWritable", "writable mounts", p.MountsWritable},
		{"nativeDiff", "diff reads only what changed", p.NativeDiff},
		{"rebase", "layers unpack side by side", p.Rebase},
		{"quota", "size limits", p.Quota},
		{"renameDir", "directories can be renamed", p.RenameDir},
		{"sharesPages", "one page cache for all containers of a layer", p.SharesPages},
		{"reflink", "copies share blocks", p.Reflink},
		{"explain", "knows which layer a path comes from", p.Explain},
		{"volatile", "mounts without syncs", p.Volatile},
		{"idmap", "mapped ids", p.Idmap},
		{"rootless", "works in a user namespace", p.Rootless},
	}
}

// abilityNames lists what the backend can.
func abilityNames(p driver.Properties) []string {
	names := []string{}
	for _, a := range abilities(p) {
		if a.has {
			names = append(names, a.name)
		}
	}
	return names
}

// abilityWidth is how long the lines of abilityLines are, where words allow it.
const abilityWidth = 84

// abilityLines says what the backend can and cannot, and its bounds.
func abilityLines(p driver.Properties) []string {
	var can, cannot []string
	for _, a := range abilities(p) {
		if a.has {
			can = append(can, a.text)
		} else {
			cannot = append(cannot, a.text)
		}
	}
	if p.MaxParents > 0 {
		can = append(can, fmt.Sprintf("up to %d layers below another", p.MaxParents))
	}
	if p.MaxName > 0 {
		can = append(can, fmt.Sprintf("file names of up to %d bytes", p.MaxName))
	}
	lines := append(wrapList("can: ", can), wrapList("not: ", cannot)...)
	if p.MountWay != 0 {
		lines = append(lines, wrapList("mounts: ", strings.Split(p.MountWay.Explain(), ", "))...)
	}
	return lines
}

// wrapList joins a list with commas behind a word, in lines of abilityWidth;
// the second and further ones are indented by as much as the word is long.
func wrapList(word string, list []string) []string {
	var lines []string
	line := word
	for i, item := range list {
		if i < len(list)-1 {
			item += ","
		}
		if i > 0 && len(line)+len(item) >= abilityWidth {
			lines = append(lines, line)
			line = strings.Repeat(" ", len(word)-1)
		}
		line = strings.TrimSuffix(line, " ") + " " + item
	}
	if len(list) > 0 {
		lines = append(lines, line)
	}
	return lines
}
