package config

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzFile reads any bytes as a configuration. One that is valid is written as
// a file that says the same.
func FuzzFile(f *testing.F) {
	c := Default()
	var b bytes.Buffer
	require.NoError(f, c.Write(&b))
	f.Add(b.Bytes())
	f.Add([]byte("root = '/a'\nadditional = ['/b']\nstop-timeout = '1m30s'\n[check]\nevery = '24h'\nrate = '3MiB'\n[engine]\nbuildkit = '/run/b'\n"))
	f.Add([]byte("root = 5\nnonsense = 1\n"))
	f.Add([]byte("address = 'unix:////run/a'\n[engine]\n0 = 'unix:////'\n"))
	f.Add([]byte("address = '//run/a'\n[engine]\n0 = '//'\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := Default()
		if c.read(raw) != nil {
			return
		}
		valid := c.Check() == nil
		var b bytes.Buffer
		require.NoError(t, c.Write(&b))
		if !valid {
			return
		}
		again := Default()
		require.NoError(t, again.read(b.Bytes()), "%s", b.Bytes())
		require.NoError(t, again.Check())
		taken, restart := c.Changes(&again)
		require.Empty(t, append(taken, restart...), "%s", b.Bytes())
	})
}
