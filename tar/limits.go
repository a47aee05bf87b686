package tar

// Limits bound what a layer may ask for. A zero field means its default. The
// fields are those of driver.Limits.
type Limits struct {
	Entries   int64 // entries in the stream, and directories that their paths imply; default 10,000,000
	Bytes     int64 // bytes of the uncompressed stream, and of all bodies with their holes; default 1 TiB
	Ratio     int64 // uncompressed bytes for each compressed byte; default 2,000, checked past 64 MiB
	PathDepth int   // components of a path after cleaning; default 512
	PAXBytes  int64 // bytes of one extended header; default 1 MiB (the reader's own ceiling)
}

// ratioFloor is how much may be inflated from nothing before Ratio counts: a
// small layer of zeros is no attack.
const ratioFloor = 64 << 20

func (l Limits) withDefaults() Limits {
	if l.Entries <= 0 {
		l.Entries = 10_000_000
	}
	if l.Bytes <= 0 {
		l.Bytes = 1 << 40
	}
	if l.Ratio <= 0 {
		l.Ratio = 2000
	}
	if l.PathDepth <= 0 {
		l.PathDepth = 512
	}
	if l.PAXBytes <= 0 {
		l.PAXBytes = 1 << 20
	}
	return l
}
