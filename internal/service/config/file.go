package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxFile bounds what is read of a file, in bytes.
const maxFile = 1 << 20

// Load reads the file at path over c: what the file does not name stays. A key
// that does not exist, or a value of a wrong kind, is an error with its line.
func (c *Config) Load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if len(raw) > maxFile {
		return fmt.Errorf("configuration %s: it is larger than %d bytes", path, maxFile)
	}
	if err := c.read(raw); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

// LoadDefault is Load of [DefaultPath], which may be missing. It returns the
// path that was read, or "".
func (c *Config) LoadDefault() (string, error) {
	err := c.Load(DefaultPath)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return DefaultPath, err
}

func (c *Config) read(raw []byte) error {
	err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(c)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var errs []error
		for i := range strict.Errors {
			row, _ := strict.Errors[i].Position()
			errs = append(errs, fmt.Errorf("line %d: there is no key %q", row, strings.Join(strict.Errors[i].Key(), ".")))
		}
		return errors.Join(errs...)
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		row, column := bad.Position()
		return fmt.Errorf("line %d, column %d: %s", row, column, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	return err
}

// Write prints c as a file that [Config.Load] reads back to the same, each key
// under what it is for.
func (c *Config) Write(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# The configuration of snapctl serve. Each key is also a flag, which wins.\n")
	var tables []Field
	inTable := ""
	for _, f := range c.Fields() {
		if _, ok := f.Value.(*table); ok {
			tables = append(tables, f) // a table ends with the file
			continue
		}
		if f.Table != inTable {
			inTable = f.Table
			fmt.Fprintf(&b, "\n# The flags of this table are --%s-KEY.\n[%s]\n", inTable, inTable)
		}
		fmt.Fprintf(&b, "\n# %s.%s\n%s = %s\n", capitalized(f.Help), changeable(f), strings.TrimPrefix(f.Key, inTable+"-"), literal(f.Value))
	}
	for _, f := range tables {
		fmt.Fprintf(&b, "\n# %s.\n# Here: one line for each, NAME = \"PATH\".\n[%s]\n", capitalized(f.Help), f.Key)
		pairs := *f.Value.(*table) //nolint:forcetypeassert // asked above
		for _, name := range slices.Sorted(maps.Keys(pairs)) {
			fmt.Fprintf(&b, "%s = %s\n", quote(name), quote(pairs[name]))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func changeable(f Field) string {
	if f.Changeable {
		return " SIGHUP takes a new value."
	}
	return ""
}

func capitalized(help string) string {
	help = strings.ReplaceAll(help, "`", "")
	return strings.ToUpper(help[:1]) + help[1:]
}

// literal is a value as TOML.
func literal(v Value) string {
	switch v := v.(type) {
	case *number:
		return strconv.Itoa(int(*v))
	case *truth:
		return v.String()
	case *list:
		quoted := []string{}
		for _, item := range *v {
			quoted = append(quoted, quote(item))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	default:
		return quote(v.String())
	}
}

// quote is s as a basic string of TOML.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
