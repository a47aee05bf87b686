package tar

import "math"

// Limits bound what a layer may ask for. A zero field means its default. The
// fields are those of driver.Limits.
type Limits struct {
	Entries   int64 // entries in the stream, and directories that their paths imply; default 10,000,000
	Bytes     int64 // bytes of the uncompressed stream, and of all bodies with their holes; default 1 TiB
	Ratio     int64 // uncompressed bytes for each compressed byte, checked past 64 MiB; default none
	PathDepth int   // components of a path after cleaning; default 1,000,000, which no path of MaxPath bytes has
	PAXBytes  int64 // bytes of one extended header; default 1 MiB (the reader's own ceiling)
	Memory    int64 // bytes of memory for what has to be known of all entries; default 256 MiB
}

// The defaults. There is none of Ratio, since no ratio tells an attack from a file
// of zeros: zstd packs up to 32,768 of them into one byte.
const (
	DefaultEntries   = 10_000_000
	DefaultBytes     = 1 << 40
	DefaultPathDepth = 1_000_000
	DefaultPAXBytes  = 1 << 20
	DefaultMemory    = 256 << 20
)

// MaxPath is how many bytes the path of a file in a layer can have. A path, a link's
// target and extended attributes stand in one extended header, of which every reader
// takes 1 MiB at most.
const MaxPath = 1<<20 - 4<<10

// ratioFloor is how much may be inflated from nothing before Ratio counts: a
// small layer of zeros is no attack.
const ratioFloor = 64 << 20

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int64
		value int64
	}{
		{&l.Entries, DefaultEntries},
		{&l.Bytes, DefaultBytes},
		{&l.Ratio, math.MaxInt64},
		{&l.PAXBytes, DefaultPAXBytes},
		{&l.Memory, DefaultMemory},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	if l.PathDepth <= 0 {
		l.PathDepth = DefaultPathDepth
	}
	return l
}
