package main

import (
	"regexp"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep/snapshotter"
)

// layerDamageJSON is what is wrong with the layer of a snapshot, in JSON.
type layerDamageJSON struct {
	Key     string `json:"key"`
	State   string `json:"state"`
	What    string `json:"what"`
	Command string `json:"command"`
}

func newLayerDamageJSON(damage []snapshotter.LayerDamage) []layerDamageJSON {
	all := []layerDamageJSON{}
	for _, d := range damage {
		all = append(all, layerDamageJSON{Key: d.Key, State: string(d.State), What: d.What, Command: wayOut(d)})
	}
	return all
}

// stateIn is the state of the layer of one snapshot, empty for no damage.
func stateIn(damage []snapshotter.LayerDamage, key string) string {
	for _, d := range damage {
		if d.Key == key {
			return string(d.State)
		}
	}
	return ""
}

// wayOut is the command that repairs or removes what is damaged; empty for
// none: it is not known to be damaged. Nothing is kept from which a layer that
// was not committed could be made again.
func wayOut(d snapshotter.LayerDamage) string {
	scope, _ := snapshotter.ScopeOf(d.Key)
	switch {
	case d.State == snapshotter.LayerUnknown:
		return ""
	case d.Kind == snapshots.KindCommitted:
		return "snapctl repair"
	case scope != "":
		return "snapctl rm --force " + shellWord(d.Key)
	default:
		return "snapctl rm " + shellWord(d.Key)
	}
}

var plainWord = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_][A-Za-z0-9@%+=:,./_-]*$`)
})

// shellWord is a text as one word of a shell's command line.
func shellWord(text string) string {
	if plainWord().MatchString(text) {
		return text
	}
	quoted := "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	if strings.HasPrefix(text, "-") {
		return "-- " + quoted
	}
	return quoted
}

// text is the damage in one line.
func (d layerDamageJSON) text() string {
	line := d.State + ": snapshot " + d.Key + ": " + d.What
	switch {
	case d.Command == "snapctl repair":
		line += " ('snapctl repair' repairs it, or says what is lost)"
	case d.Command != "":
		line += " (" + d.Command + " removes it)"
	}
	return line
}
