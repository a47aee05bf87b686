package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSourcesAreReadAsWritten(t *testing.T) {
	stdin := strings.NewReader("")
	for in, want := range map[string]Source{
		"dir/x.tar":              {Path: "dir/x.tar"},
		"./oci:dir":              {Path: "./oci:dir"},
		"-":                      {Path: "-", Reader: stdin},
		"oci:dir:12":             {Kind: OCILayout, Path: "dir:12"},
		"oci-archive:a.tar":      {Kind: OCIArchive, Path: "a.tar"},
		"dir:x:1":                {Kind: SkopeoDir, Path: "x:1"},
		"docker-archive:-":       {Kind: DockerArchive, Path: "-", Reader: stdin},
		"docker-archive:-:app:1": {Kind: DockerArchive, Path: "-:app:1", Reader: stdin},
	} {
		got, err := ParseSource(in, stdin)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
		require.Equal(t, in, got.String())
	}
	for _, in := range []string{"", "oci:", "oci-archive:", "oci:-", "dir:", "dir:-"} {
		_, err := ParseSource(in, stdin)
		require.ErrorIs(t, err, ErrInvalid, "%q", in)
	}
}

func TestAReferenceIsWhatFollowsTheLongestPathThatExists(t *testing.T) {
	dir := t.TempDir()
	withColon := filepath.Join(dir, "a:b")
	require.NoError(t, os.Mkdir(withColon, 0o755))

	path, ref := splitRef(Source{Kind: OCILayout, Path: withColon + ":docker.io/x:1"})
	require.Equal(t, withColon, path)
	require.Equal(t, "docker.io/x:1", ref)

	path, ref = splitRef(Source{Kind: OCILayout, Path: withColon})
	require.Equal(t, withColon, path)
	require.Empty(t, ref)

	path, ref = splitRef(Source{Kind: OCILayout, Path: "missing:app:1"})
	require.Equal(t, "missing", path)
	require.Equal(t, "app:1", ref)

	path, _ = splitRef(Source{Path: "plain:12"})
	require.Equal(t, "plain:12", path, "a plain path has no reference")
}

func TestAnImageIsNamedAfterItsFile(t *testing.T) {
	for path, want := range map[string]string{
		"/x/Debian-12.tar.gz": "debian-12", "/x/app.oci.tar": "app", "/x/a b": "", "/": "", "/x/..hidden": "",
		"/x/" + strings.Repeat("ab", 32): "",
	} {
		require.Equal(t, want, baseName(path), path)
	}
}
