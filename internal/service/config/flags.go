package config

// A Flag is a setting on the command line. It keeps what was given until the
// file has been read, since a flag wins over the file. It is a value for
// package pflag.
type Flag struct {
	// Field is the setting with its default.
	Field Field
	texts []string
	probe Value
}

// Flags returns a flag for every setting.
func Flags() []*Flag {
	defaults, probes := Default(), Default()
	var flags []*Flag
	probe := probes.Fields()
	for i, f := range defaults.Fields() {
		flags = append(flags, &Flag{Field: f, probe: probe[i].Value})
	}
	return flags
}

// String returns what was given last, else the default.
func (f *Flag) String() string {
	if f == nil || f.probe == nil {
		return ""
	}
	return f.probe.String()
}

// Type returns the kind of the value.
func (f *Flag) Type() string { return f.Field.Value.Type() }

// Set checks the text and keeps it.
func (f *Flag) Set(text string) error {
	if err := f.probe.Set(text); err != nil {
		return err
	}
	f.texts = append(f.texts, text)
	return nil
}

// Override sets what was given by flags, and for lists nothing but that.
func (c *Config) Override(flags []*Flag) error {
	fields := map[string]Value{}
	for _, f := range c.Fields() {
		fields[f.Key] = f.Value
	}
	for _, f := range flags {
		v := fields[f.Field.Key]
		if r, ok := v.(interface{ reset() }); ok && len(f.texts) > 0 {
			r.reset()
		}
		for _, text := range f.texts {
			if err := v.Set(text); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *list) reset()  { *l = list{} }
func (t *table) reset() { *t = table{} }
