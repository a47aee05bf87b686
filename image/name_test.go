package image

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesTakeTheirShortForm(t *testing.T) {
	for in, want := range map[string]string{
		"debian":                           "debian:latest",
		"debian:12":                        "debian:12",
		"docker.io/library/debian":         "debian:latest",
		"index.docker.io/library/debian:1": "debian:1",
		"library/debian":                   "debian:latest",
		"docker.io/library/a/b":            "library/a/b:latest",
		"docker.io/a.b/c":                  "docker.io/a.b/c:latest",
		"docker.io/user/app:v1":            "user/app:v1",
		"user/app":                         "user/app:latest",
		"localhost/app":                    "localhost/app:latest",
		"localhost:5000/a/b:c":             "localhost:5000/a/b:c",
		"ghcr.io/a/b-c.d__e":               "ghcr.io/a/b-c.d__e:latest",
	} {
		got, err := ParseName(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
		again, err := ParseName(got)
		require.NoError(t, err)
		require.Equal(t, got, again, "the short form is its own short form")
	}
}

func TestWhatIsNoNameIsRefused(t *testing.T) {
	for _, in := range []string{
		"", ":", "a:", ":tag", "UPPER", "a//b", "/a", "a/", "a:b:c", "a b", "../x", "a/../b", "-a", "a:-b",
		"debian@sha256:" + strings.Repeat("a", 64), strings.Repeat("a", 64), strings.Repeat("x/", 200) + "x",
		"a:" + strings.Repeat("t", 129), "a\x00b", "ex ample.com/a",
	} {
		_, err := ParseName(in)
		require.ErrorIs(t, err, ErrInvalid, "%q", in)
	}
}

func TestAFullNameParsesBackToTheShortOne(t *testing.T) {
	for short, full := range map[string]string{
		"debian:12":          "docker.io/library/debian:12",
		"user/app:v1":        "docker.io/user/app:v1",
		"ghcr.io/a/b:latest": "ghcr.io/a/b:latest",
	} {
		require.Equal(t, full, fullName(short))
		back, err := ParseName(full)
		require.NoError(t, err)
		require.Equal(t, short, back)
	}
	require.Equal(t, "12", tagOf("localhost:5000/debian:12"))
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"debian", "docker.io/library/a:b", "localhost:5000/x", "a/b/c:d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ParseName(s)
		if err != nil {
			return
		}
		again, err := ParseName(name)
		require.NoError(t, err)
		require.Equal(t, name, again)
		back, err := ParseName(fullName(name))
		require.NoError(t, err)
		require.Equal(t, name, back)
	})
}
