package tar

import (
	stdtar "archive/tar"
	"net/url"
	"strings"
)

// A droppedKind is a kind of PAX records that other programs write, no engine
// reads, and a layer therefore does not carry. What they say is lost, so there
// is a warning.
type droppedKind struct {
	prefix string
	// what it is, for the warning.
	what string
	// instead says where a layer has it.
	instead string
}

// droppedKinds: lists of access control are text with the names of users where
// the archive was made, and a name means nobody before the image has its own
// /etc/passwd. GNU tar writes them with --acls, and labels with --selinux;
// bsdtar writes lists, flags and attributes.
var droppedKinds = []droppedKind{
	{"SCHILY.acl.", "access control list written as text", "a layer has them as SCHILY.xattr.system.posix_acl_access and _default"},
	{"SCHILY.fflags", "file flags", "a layer has none"},
	{"RHT.security.selinux", "SELinux label", "a layer has it as SCHILY.xattr.security.selinux"},
	{libarchiveXattr, "extended attribute", "a layer has it as SCHILY.xattr"},
}

// libarchiveXattr begins the records in which bsdtar writes attributes a second
// time, packed as base64, under names in which some characters are written like
// %20.
const libarchiveXattr = "LIBARCHIVE.xattr."

// droppedRecords counts the entries with records of each kind.
type droppedRecords struct {
	kinds [4]struct {
		tally
		record string
	}
	last int64 // offset of the last entry that was looked at, and one
}

// see looks at an entry, which is seen again where the stream is read again
// from it.
func (d *droppedRecords) see(p string, hdr *stdtar.Header, offset int64) {
	if offset < d.last || len(hdr.PAXRecords) == 0 {
		return
	}
	d.last = offset + 1
	var found [len(d.kinds)]string
	for key := range hdr.PAXRecords { // hardly ever is there one of them
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

// isTwice reports whether an attribute is there in the form that is read, too.
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
