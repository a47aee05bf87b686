package mount

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Strings returns the mount as options for mount(8) -o: first flags, then
// directories, then the other options. It escapes names as the kernel's parser
// of overlay options needs it. Names of aufs branches cannot be escaped, and
// Strings does not check what the kernel would make of them. An ID map is
// written as containerd writes it, uidmap= and gidmap=.
func (m Mount) Strings() []string { return m.options(nil) }

// options is Strings with the directories' paths mapped by rename, see dirs.
func (m Mount) options(rename func(string) string) []string {
	var opts []string
	if m.Type == "bind" {
		opts = append(opts, "bind")
	}
	if m.isRemount() {
		opts = append(opts, "remount")
	}
	if m.ReadOnly {
		opts = append(opts, "ro")
	} else {
		opts = append(opts, "rw")
	}
	if m.AUFS != nil {
		return append(opts, m.AUFS.options(m.Options)...)
	}
	if o := m.Overlay; o != nil {
		opts = append(opts, o.dirs(rename)...)
	}
	opts = append(opts, m.Options...)
	if m.IDMap != nil {
		uids, gids := m.IDMap.Texts()
		opts = append(opts, "uidmap="+uids, "gidmap="+gids)
	}
	return opts
}

// Command returns the mount as a mount(8) command line for a shell.
//
// When the directories do not fit into the kernel's page for options, the
// command changes to the directory that contains all of them, and uses relative
// names. Target must therefore be absolute. Remounts of an aufs are separate
// commands, to run after the first. For an aufs that would crash the kernel,
// and for an overlay with an ID map, which mount(8) cannot express, the command
// only prints an error and fails.
func (m Mount) Command(target string) string {
	if m.IDMap != nil {
		return m.mappedCommand(target)
	}
	if m.AUFS != nil {
		if err := m.checkAUFS(); err != nil {
			return "false " + Quote(err.Error())
		}
	}
	opts, in := strings.Join(m.Strings(), ","), ""
	if m.Overlay != nil && !fits(opts) {
		in = m.Overlay.base()
		opts = strings.Join(m.options(relativeTo(in)), ",")
	}
	args := []string{"mount"}
	if m.Overlay != nil || m.AUFS != nil {
		// With mount(2): the other way of util-linux 2.39 and later takes 255 bytes
		// of directories.
		args = []string{"LIBMOUNT_FORCE_MOUNT2=always", "mount"}
	}
	if m.AUFS != nil {
		args = append(args, "-i") // without the helper mount.aufs
	}
	if m.Type != "bind" {
		args = append(args, "-t", m.Type)
	}
	args = append(args, "-o", opts, m.Source, target)
	for i, a := range args {
		args[i] = Quote(a)
	}
	line := strings.Join(args, " ")
	if in != "" {
		line = "(cd " + Quote(in) + " && " + line + ")"
	}
	return line
}

// mappedCommand is Command for a mount with a map of IDs (util-linux 2.39).
func (m Mount) mappedCommand(target string) string {
	if m.Type != "bind" {
		return "false " + Quote("mount(8) cannot map the IDs of an overlay's lower directories")
	}
	var ranges []string
	for _, r := range m.IDMap.UIDs {
		ranges = append(ranges, "u:"+r.String())
	}
	for _, r := range m.IDMap.GIDs {
		ranges = append(ranges, "g:"+r.String())
	}
	m.Options = append(slices.Clone(m.Options), "X-mount.idmap="+strings.Join(ranges, " "))
	m.IDMap = nil
	return m.Command(target)
}

func joinOptions(opts []string) string { return strings.Join(opts, ",") }

// relativeTo maps paths below base to relative ones.
func relativeTo(base string) func(string) string {
	return func(path string) string {
		rel, err := filepath.Rel(base, path)
		if err != nil {
			return path
		}
		return rel
	}
}

// fits reports whether the kernel takes an option string whole.
func fits(opts string) bool { return len(opts) < os.Getpagesize() }

// base is the directory that all directories of the overlay are in.
func (o *Overlay) base() string {
	base := filepath.Dir(o.Lower[0])
	for _, p := range append([]string{o.Upper, o.Work}, o.Lower...) {
		for p != "" && p != base && !strings.HasPrefix(p, strings.TrimSuffix(base, "/")+"/") {
			base = filepath.Dir(base)
		}
	}
	return base
}

// longest is how many bytes the longest path of the overlay has.
func (o *Overlay) longest() int {
	n := max(len(o.Upper), len(o.Work))
	for _, l := range o.Lower {
		n = max(n, len(l))
	}
	return n
}

// escaped reports whether a path has a character that needs an escape in the
// options of mount(2).
func (o *Overlay) escaped() bool {
	for _, p := range append([]string{o.Upper, o.Work}, o.Lower...) {
		if strings.ContainsAny(p, `\:,`) {
			return true
		}
	}
	return false
}

// dirs renders the directories as overlay options. rename, unless nil, maps
// each path first.
func (o *Overlay) dirs(rename func(string) string) []string {
	if rename == nil {
		rename = func(s string) string { return s }
	}
	lower := make([]string, len(o.Lower))
	for i, l := range o.Lower {
		lower[i] = escapeLower(rename(l))
	}
	opts := []string{"lowerdir=" + strings.Join(lower, ":")}
	if o.Upper != "" {
		opts = append(opts, "upperdir="+escapeComma(rename(o.Upper)), "workdir="+escapeComma(rename(o.Work)))
	}
	return opts
}

// escapeLower escapes one component of lowerdir=, whose list is split at
// colons after the options were split at commas. Backslashes are taken away
// only once, at the end.
func escapeLower(s string) string {
	if !strings.ContainsAny(s, `\:,`) {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(s)
}

// escapeComma escapes a value for overlay's option string.
func escapeComma(s string) string {
	if !strings.ContainsAny(s, `\,`) {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s)
}

// Quote quotes an argument for a POSIX shell when it needs quotes.
func Quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("%+,-./:=@_", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
