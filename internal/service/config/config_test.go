package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestTheDefaultIsValid(t *testing.T) {
	c := Default()
	require.NoError(t, c.Check())
}

func TestEverySettingHasAFieldOfTheSameKey(t *testing.T) {
	c := Default()
	fields := c.Fields()
	typ := reflect.TypeOf(c)
	next := func(key, table string, setting reflect.Value) {
		require.NotEmpty(t, fields, key)
		require.Equal(t, key, fields[0].Key)
		require.Equal(t, table, fields[0].Table)
		require.Equal(t, setting.Addr().Pointer(), reflect.ValueOf(fields[0].Value).Pointer(), key)
		fields = fields[1:]
	}
	for i := range typ.NumField() {
		key, setting := typ.Field(i).Tag.Get("toml"), reflect.ValueOf(&c).Elem().Field(i)
		if setting.Kind() != reflect.Struct {
			next(key, "", setting)
			continue
		}
		for j := range setting.NumField() {
			next(key+"-"+setting.Type().Field(j).Tag.Get("toml"), key, setting.Field(j))
		}
	}
	require.Empty(t, fields)
}

func TestWhatIsPrintedCanBeReadAgain(t *testing.T) {
	want := Default()
	want.Root = "/a \"b\" \\ \x01 é"
	want.Engines = map[string]string{"buildkit": "/run/b.sock", "second.one": "/run/c.sock"}
	want.Graphdrivers = []string{"one", "two"}
	want.StopTimeout = Duration(90 * time.Second)
	want.MaxStreams = 7
	want.Checks = Checks{Every: Duration(168 * time.Hour), Rate: 3 << 20}
	var b strings.Builder
	require.NoError(t, want.Write(&b))
	got := Default()
	require.NoError(t, got.Load(write(t, b.String())), b.String())
	require.Equal(t, want, got)
	for _, f := range want.Fields() {
		require.Contains(t, b.String(), strings.TrimPrefix(f.Key, f.Table+"-")+map[bool]string{true: " = "}[f.Table != ""])
	}
}

func TestMistakesOfAFileAreNamedWithTheirLine(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"an unknown key":    {"root = \"/a\"\n\nadress = \"/b\"\n", `line 3: there is no key "adress"`},
		"an unknown table":  {"[limits]\nx = 1\n", `there is no key "limits`},
		"a wrong type":      {"max-streams = \"many\"\n", "line 1"},
		"a wrong duration":  {"\nstop-timeout = \"soon\"\n", "line 2"},
		"what is not TOML":  {"root = \"/a\"\nnonsense\n", "line 2"},
		"a key given twice": {"root = \"/a\"\nroot = \"/b\"\n", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Default()
			err := got.Load(write(t, c.content))
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "config.toml")
		})
	}
}

func TestAFileThatIsTooLargeIsRefused(t *testing.T) {
	c := Default()
	require.ErrorContains(t, c.Load(write(t, strings.Repeat("#\n", maxFile))), "larger than")
}

func TestChecksAreATable(t *testing.T) {
	c := Default()
	require.Zero(t, c.Checks.Every, "off")
	require.NoError(t, c.Load(write(t, "[check]\nevery = \"168h\"\nrate = \"1536K\"\nread-data = false\n")))
	require.Equal(t, Checks{Every: Duration(168 * time.Hour), Rate: 1536 << 10}, c.Checks)
	require.Equal(t, "1536KiB", c.Checks.Rate.String())
	for _, wrong := range []string{"rate = \"20MB\"", "every = \"soon\"", "read-data = \"yes\""} {
		require.ErrorContains(t, c.Load(write(t, "[check]\n"+wrong+"\n")), "line 2", wrong)
	}
	require.NoError(t, c.Load(write(t, "[check]\nrate = \"\"\n")))
	require.Zero(t, c.Checks.Rate, "as fast as it goes")
}

func TestFlagsWinOverTheFile(t *testing.T) {
	c := Default()
	require.NoError(t, c.Load(write(t, "address = \"/file.sock\"\nlog-format = \"json\"\ngraphdriver = [\"file\"]\n[engine]\nfile = \"/f\"\n")))
	flags := Flags()
	for _, f := range flags {
		switch f.Field.Key {
		case "address":
			require.NoError(t, f.Set("/flag.sock"))
		case "graphdriver":
			require.NoError(t, f.Set("a"))
			require.NoError(t, f.Set("b"))
		case "engine":
			require.Error(t, f.Set("nopath"))
			require.NoError(t, f.Set("x=/x"))
			require.ErrorContains(t, f.Set("x=/y"), "twice")
		case "stop-timeout":
			require.Error(t, f.Set("soon"))
		}
	}
	require.NoError(t, c.Override(flags))
	require.Equal(t, "/flag.sock", c.Address)
	require.Equal(t, "json", c.LogFormat)
	require.Equal(t, []string{"a", "b"}, c.Graphdrivers)
	require.Equal(t, map[string]string{"x": "/x"}, c.Engines)
	require.Equal(t, Default().StopTimeout, c.StopTimeout)
}

func TestWrongSettingsAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"a relative socket":          {func(c *Config) { c.Address = "x.sock" }, "address"},
		"a socket that is too long":  {func(c *Config) { c.Address = "/" + strings.Repeat("x", 107) }, "at most 107"},
		"metrics for everyone":       {func(c *Config) { c.MetricsAddress = "0.0.0.0:9000" }, "metrics-address"},
		"metrics on all addresses":   {func(c *Config) { c.MetricsAddress = ":9000" }, "metrics-address"},
		"profiles for everyone":      {func(c *Config) { c.PprofAddress = "[::]:9000" }, "pprof-address"},
		"the scope of containerd":    {func(c *Config) { c.Engines["containerd"] = "/x" }, "another part"},
		"an engine's bad name":       {func(c *Config) { c.Engines["../x"] = "/x" }, "engine"},
		"one socket for two":         {func(c *Config) { c.Engines["x"] = c.Address }, "that of address already"},
		"a plugin's bad name":        {func(c *Config) { c.Graphdrivers = []string{"../../etc/x"} }, "graphdriver"},
		"the same plugin twice":      {func(c *Config) { c.Graphdrivers = []string{"x", "x"} }, "already"},
		"a driver that is not there": {func(c *Config) { c.Driver = "zfs" }, "overlay2"},
		"checks all the time":        {func(c *Config) { c.Checks.Every = 1 }, "check-every"},
		"checks that read nothing":   {func(c *Config) { c.Checks.Rate = -1 }, "check-rate"},
		"no log level":               {func(c *Config) { c.LogLevel = "loud" }, "log-level"},
		"no log format":              {func(c *Config) { c.LogFormat = "xml" }, "log-format"},
		"a negative time":            {func(c *Config) { c.StopTimeout = -1 }, "stop-timeout"},
		"no message at all":          {func(c *Config) { c.MaxMessageBytes = 0 }, "max-message-bytes"},
		"no call at all":             {func(c *Config) { c.MaxStreams = 0 }, "max-streams"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Default()
			c.change(&got)
			err := got.Check()
			require.ErrorIs(t, err, ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestLoopbackAndSocketsAreAllowed(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:9000", "/run/m.sock", "unix:///run/m.sock", ""} {
		c := Default()
		c.MetricsAddress = address
		require.NoError(t, c.Check(), address)
	}
}

func TestChangesTellWhatNeedsARestart(t *testing.T) {
	a, b := Default(), Default()
	b.LogLevel, b.Address = "debug", "/x"
	taken, restart := a.Changes(&b)
	require.Equal(t, []string{"log-level"}, taken)
	require.Equal(t, []string{"address"}, restart)
}
