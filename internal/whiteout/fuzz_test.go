package whiteout

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParse reads any name. The result agrees with the start of the name, and
// Name inverts Parse for a whiteout.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"a", ".wh.a", OpaqueMarker, AUFSBase, AUFSPseudo, ".wh.", ".wh..", ".wh...", ".wh....", ".wh.\xff", ".wh"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		kind, target, err := Parse(name)
		rest, marker := strings.CutPrefix(name, ".wh.")
		nowhere := marker && (rest == "" || rest == "." || rest == "..")
		require.Equal(t, nowhere, err != nil)
		switch {
		case nowhere, !marker:
			require.Equal(t, None, kind)
		case rest == ".wh..opq":
			require.Equal(t, Opaque, kind)
		case strings.HasPrefix(rest, ".wh."):
			require.Equal(t, Bookkeeping, kind)
		default:
			require.Equal(t, Whiteout, kind)
			require.Equal(t, rest, target)
			require.Equal(t, name, Name(target))
			return
		}
		require.Empty(t, target)
	})
}
