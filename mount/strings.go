package mount

import "strings"

// Strings renders the mount as the options mount(8) takes with -o: flags,
// then directories, then the other options. Names are escaped as the kernel's
// parser of overlay options needs it.
func (m Mount) Strings() []string {
	var opts []string
	if m.Type == "bind" {
		opts = append(opts, "bind")
	}
	if m.ReadOnly {
		opts = append(opts, "ro")
	} else {
		opts = append(opts, "rw")
	}
	if o := m.Overlay; o != nil {
		opts = append(opts, o.dirs(nil)...)
	}
	return append(opts, m.Options...)
}

// Command renders the mount as a mount(8) command line for a shell.
func (m Mount) Command(target string) string {
	args := []string{"mount"}
	if m.Type != "bind" {
		args = append(args, "-t", m.Type)
	}
	args = append(args, "-o", strings.Join(m.Strings(), ","), m.Source, target)
	for i, a := range args {
		args[i] = Quote(a)
	}
	return strings.Join(args, " ")
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

// Quote quotes an argument for a POSIX shell when it needs it.
func Quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("%+,-./:=@_", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
