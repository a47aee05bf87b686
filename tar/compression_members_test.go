package tar

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func gzipOf(t *testing.T, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := Compress(&b, Gzip)
	require.NoError(t, err)
	_, err = io.WriteString(w, body)
	require.NoError(t, errors.Join(err, w.Close()))
	return b.Bytes()
}

// NUL bytes after a gzip stream are padding. All other bytes are an error.
func TestGzipMembersAndThePaddingBehindThem(t *testing.T) {
	one, two, none := gzipOf(t, "one"), gzipOf(t, strings.Repeat("two", 100_000)), gzipOf(t, "")
	both := "one" + strings.Repeat("two", 100_000)
	zeros := make([]byte, maxPadding)
	for name, c := range map[string]struct {
		stream []byte
		want   string
		fine   bool
	}{
		"one":                     {one, "one", true},
		"several":                 {slices.Concat(none, one, none, two, none), both, true},
		"a block":                 {slices.Concat(one, zeros[:10240-len(one)]), "one", true},
		"one byte":                {slices.Concat(one, two, zeros[:1]), both, true},
		"much":                    {slices.Concat(one, zeros), "one", true},
		"too much":                {slices.Concat(one, zeros, zeros[:1]), "", false},
		"a member behind padding": {slices.Concat(one, zeros[:10], two), "", false},
		"text behind padding":     {slices.Concat(one, zeros[:10], []byte("x")), "", false},
		"text":                    {slices.Concat(one, []byte("text that follows")), "", false},
		"half a header":           {slices.Concat(one, two[:5]), "", false},
		"half a member":           {slices.Concat(one, two[:len(two)-9]), "", false},
		"half a sum":              {slices.Concat(one, two[:len(two)-2]), "", false},
	} {
		for how, r := range map[string]io.Reader{
			"at once": bytes.NewReader(c.stream), "by bytes": iotest.OneByteReader(bytes.NewReader(c.stream)),
			"with the end": iotest.DataErrReader(bytes.NewReader(c.stream)),
		} {
			if how == "by bytes" && len(c.stream) > maxPadding {
				continue // it would take seconds
			}
			rc, packed, err := NewDecompressor(r)
			require.NoError(t, err, name)
			require.Equal(t, Gzip, packed)
			got, err := io.ReadAll(rc)
			if c.fine {
				require.NoError(t, err, "%s, %s", name, how)
				require.Equal(t, c.want, string(got), name)
				n, err := rc.Read(make([]byte, 1))
				require.Zero(t, n)
				require.ErrorIs(t, err, io.EOF, "again")
			} else {
				require.Error(t, err, "%s, %s", name, how)
				require.NotErrorIs(t, err, io.EOF)
			}
			require.NoError(t, rc.Close())
		}
	}
	failed := errors.New("the disk is on fire")
	rc, _, err := NewDecompressor(io.MultiReader(bytes.NewReader(one), iotest.ErrReader(failed)))
	require.NoError(t, err)
	_, err = io.ReadAll(rc)
	require.ErrorIs(t, err, failed)
	require.NoError(t, rc.Close())
}
