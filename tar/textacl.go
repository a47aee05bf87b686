package tar

import (
	stdtar "archive/tar"
	"maps"
	"slices"
	"strings"
)

// Access control lists in the form that GNU tar --acls and bsdtar write: as text, with the
// names of users where the archive was made. No engine reads them, and a name means nobody
// before the image has its own /etc/passwd, so they are left out. What diff writes, and any
// engine, are the extended attributes of the kernel.
const schilyACL = "SCHILY.acl."

// textACLs counts the entries with such lists.
type textACLs struct {
	tally
	record string
	last   int64 // offset of the last entry that was counted, and one
}

// see looks at an entry, which is seen again where the stream is read again from it.
func (t *textACLs) see(p string, hdr *stdtar.Header, offset int64) {
	if offset < t.last {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(hdr.PAXRecords)) {
		if !strings.HasPrefix(key, schilyACL) {
			continue
		}
		if t.files == 0 {
			t.path, t.record = p, key
		}
		t.files++
		t.last = offset + 1
		return
	}
}

func (t *textACLs) report(warn func(path, message string)) {
	if t.files > 0 {
		warn(t.path, "access control list written as text ("+t.record+") dropped"+t.others()+
			"; a layer has them as SCHILY.xattr.system.posix_acl_access and _default")
	}
}
