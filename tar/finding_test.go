package tar

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAFindingSaysInOneLineWhatIsWrong(t *testing.T) {
	for want, f := range map[string]Finding{
		"/: mode is 0700; the layers below: 0755":                           {Path: ".", Kind: FindingMode, Below: true, Want: "0755", Got: "0700"},
		"/.bashrc: is missing; the tar: regular file":                       {Path: ".bashrc", Kind: FindingMissing, Want: "regular file"},
		`"/a\nb": is a regular file that the tar does not have`:             {Path: "a\nb", Kind: FindingExtra, Got: "regular file"},
		"/x: is a directory; the tar: removes it":                           {Path: "x", Kind: FindingExtra, Got: "directory", Want: "removes it"},
		"/x: cannot be read: input/output error":                            {Path: "x", Kind: FindingUnreadable, Err: syscall.EIO},
		"/x: cannot be read in the layers below: input/output error":        {Path: "x", Kind: FindingUnreadable, Below: true, Err: syscall.EIO},
		"/x: content is not that of the tar, from byte 7 on":                {Path: "x", Kind: FindingContent, Got: ", from byte 7 on"},
		"/x: device number is 1:5; the tar: 1:3":                            {Path: "x", Kind: FindingDevice, Want: "1:3", Got: "1:5"},
		"/x: extended attributes: user.a is missing; compared with the tar": {Path: "x", Kind: FindingXattrs, Got: "user.a is missing"},
		`/y: is a file of its own; the tar: one file with "x"`:              {Path: "y", Kind: FindingHardlink, Got: "file of its own", Want: `one file with "x"`},
		"/x: is a socket; the layers below: directory":                      {Path: "x", Kind: FindingType, Below: true, Got: "socket", Want: "directory"},
	} {
		require.Equal(t, want, f.String())
	}
	require.Equal(t, "unknown", FindingKind(0).String())
	require.Equal(t, "unreadable", FindingUnreadable.String())
	require.Equal(t, "unknown", (FindingUnreadable + 1).String())
}
