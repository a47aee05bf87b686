package engines

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var versionLine = regexp.MustCompile(`(?m)^version = \d+\n`)

// deployed returns a file of deploy/containerd as a fragment of a
// configuration, with the address of a service in the place of the usual one.
// What the file says is only for overlay2 is taken out for other backends.
func deployed(t testing.TB, name string, s *service) string {
	t.Helper()
	const usual = `"/run/layerkeep/layerkeep.sock"`
	text := readFile(t, filepath.Join("../../deploy/containerd", name))
	require.Contains(t, string(text), usual)
	require.Len(t, versionLine.FindAll(text, -1), 1)
	fragment := strings.ReplaceAll(versionLine.ReplaceAllString(string(text), ""), usual, `"`+s.address+`"`)
	if s.backend != "overlay2" {
		fragment = strings.ReplaceAll(fragment, `"rebase", `, "")
	}
	return fragment
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	return content
}

// awaitNoLayers waits until an engine's collection of garbage, which may follow
// a removal later, has left no layer.
func (s *service) awaitNoLayers(t testing.TB) {
	t.Helper()
	eventually(t, readyWithin, func() error {
		if dirs := s.layerDirs(t); len(dirs) > 0 {
			return fmt.Errorf("layers left: %v", dirs)
		}
		return nil
	})
}
