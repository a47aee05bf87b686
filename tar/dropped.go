package tar

import (
	stdtar "archive/tar"
	"net/url"
	"strings"
)

// A droppedKind is a kind of PAX records that other programs write and that no
// container engine reads. A layer cannot carry them, so their information is
// lost, and there is a warning.
type droppedKind struct {
	prefix string
	// what describes it in the warning.
	what string
	// instead says how a layer stores the same information.
	instead string
}

// The ACL records are text with the names of users on the machine that made the
// archive, and such a name means nothing before the image has its own
// /etc/passwd. GNU tar writes them with --acls, and SELinux labels with
// --selinux. bsdtar writes ACLs, flags and attributes.
var droppedKinds = []droppedKind{
	{"SCHILY.acl.", "access control list written as text", "a layer has them as SCHILY.xattr.system.posix_acl_access and _default"},
	{"SCHILY.fflags", "file flags", "a layer has none"},
	{"RHT.security.selinux", "SELinux label", "a layer has it as SCHILY.xattr.security.selinux"},
	{libarchiveXattr, "extended attribute", "a layer has it as SCHILY.xattr"},
}

// libarchiveXattr is the prefix of records in which bsdtar writes extended
// attributes a second time: the value as base64, and some characters of the
// name percent-encoded, such as %20.
const libarchiveXattr = "LIBARCHIVE.xattr."

// droppedRecords counts the entries that have records of each kind.
type droppedRecords struct {
	kinds [4]struct {
		tally
		record string
	}
	last int64 // offset of the last entry that was seen, plus one
}

// see counts the records of an entry. If the stream is read again, it ignores
// the entries that it has already seen.
func (d *droppedRecords) see(p string, hdr *stdtar.Header, offset int64) {
	if offset < d.last || len(hdr.PAXRecords) == 0 {
		return
	}
	d.last = offset + 1
	var found [len(d.kinds)]string
	for key := range hdr.PAXRecords { // such a record is rare
		for i, kind := range droppedKinds {
			if strings.HasPrefix(key, kind.prefix) && (found[i] == "" || key < found[i]) && !isTwice(key, hdr.PAXRecords) {
				found[i] = key
			}
		}
	}
	for i, record := range found {
		if record == "" {
			continue
		}
		if k := &d.kinds[i]; k.files == 0 {
			k.path, k.record = p, record
		}
		d.kinds[i].files++
	}
}

// isTwice reports whether the entry also has the same attribute in the form
// that engines read.
func isTwice(key string, records map[string]string) bool {
	name, ok := strings.CutPrefix(key, libarchiveXattr)
	if !ok {
		return false
	}
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	_, twice := records[schilyXattr+name]
	return twice
}

func (d *droppedRecords) report(warn func(path, message string)) {
	for i, kind := range droppedKinds {
		if k := &d.kinds[i]; k.files > 0 {
			warn(k.path, kind.what+" ("+k.record+") dropped"+k.others()+"; "+kind.instead)
		}
	}
}
