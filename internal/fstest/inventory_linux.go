package fstest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Inventory lists every path below a directory with all that writing would
// change: its inode, attributes, times but that of the last access, and the
// digest of its content.
func Inventory(tb testing.TB, root string) map[string]string {
	tb.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		body := ""
		if e.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			body = digest.FromBytes(raw).String()
		}
		list[path] = fmt.Sprint(st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Blocks, st.Mtim, st.Ctim, body)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return list
}
