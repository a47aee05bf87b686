package report

import (
	"slices"
	"strings"
)

// The kinds of work that a verdict tells apart.
const (
	workSmall      = "first writes to small files"
	workLarge      = "first writes to large files"
	workDeep       = "first writes through many layers"
	workAttributes = "changes of attributes (chmod -R, chown -R)"
	workNames      = "renaming and removing"
	workFirst      = "other first writes"
	workInodes     = "inodes"
	workRead       = "reading"
	workLife       = "starting and removing containers"
	workWhole      = "whole workloads"
)

// smallFile is the size in bytes up to which a file counts as small.
const smallFile = 256 << 10

// workOf returns which kind of work a case belongs to. A suite that is not
// known is a kind of work of its own.
func workOf(c *caseInfo) string {
	switch c.suite {
	case "copy-up":
		return copyUpWork(c)
	case "inodes":
		return workInodes
	case "read":
		return workRead
	case lifeCycle:
		return workLife
	case "workloads":
		return workWhole
	}
	return c.suite
}

func copyUpWork(c *caseInfo) string {
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(c.plain, w) })
	}
	switch {
	case has("chmod", "chown", "utimes", "xattr"):
		return workAttributes
	case has("rename", "link"):
		return workNames
	case has("depth") || c.params.Get("layers") != "":
		return workDeep
	}
	size, ok := parseNumber(c.params.Get("size"))
	switch {
	case !ok:
		return workFirst
	case size <= smallFile:
		return workSmall
	}
	return workLarge
}

// lifeCycle is the suite that shows what it costs to make a container.
const lifeCycle = "life-cycle"

// containsPrepare reports whether the numbers of a kind of work contain what it
// costs to prepare a container. A driver that copies whole images pays there,
// so it is compared like any other only in such work.
func containsPrepare(work string) bool {
	switch work {
	case workSmall, workLarge, workDeep, workAttributes, workNames, workFirst, workRead:
		return false
	}
	return true
}

// givesUp says what is lost with the options of a variant.
func givesUp(subject string) string {
	var losses []string
	options := strings.Split(subject, "+")[1:]
	for _, o := range options {
		switch o {
		case "metacopy":
			losses = append(losses, "a layer is worth nothing without its parents: files whose attributes alone changed have no data of their own")
		case "volatile":
			losses = append(losses, "what was written is lost in a power cut")
		case "redirect_dir=off":
			losses = append(losses, "directories of the image cannot be renamed, so programs copy them")
		case "fsync=ordered", "fsync=strict":
			losses = append(losses, "it syncs in another way than the kernel does by default")
		default:
			losses = append(losses, "the option "+o+" is not the default")
		}
	}
	return strings.Join(losses, "; ")
}
