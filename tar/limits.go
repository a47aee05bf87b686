package tar

import "math"

// Limits bound what a layer tar may demand. A zero field means the default of
// that field. The fields are those of driver.Limits.
type Limits struct {
	// Entries in the stream, plus directories that exist only because a path
	// needs them. Default 10,000,000.
	Entries int64
	// Bytes of the uncompressed stream, and of all file contents including
	// holes. Default 1 TiB.
	Bytes int64
	// Ratio of uncompressed bytes to one compressed byte, checked after the
	// first 64 MiB. Default: no limit.
	Ratio int64
	// PathDepth is the number of components in a cleaned path. Default
	// 1,000,000, which no path of MaxPath bytes has.
	PathDepth int
	// PAXBytes is the size of one extended header, in bytes. Default 1 MiB,
	// which is also the most that the tar reader accepts.
	PAXBytes int64
	// Memory, in bytes, for what must be remembered of all entries. Default 256
	// MiB.
	Memory int64
}

// The defaults of [Limits]. Ratio has no default, because no ratio tells an
// attack from a file of zeros: zstd packs up to 32,768 zeros into one byte.
const (
	DefaultEntries   = 10_000_000
	DefaultBytes     = 1 << 40
	DefaultPathDepth = 1_000_000
	DefaultPAXBytes  = 1 << 20
	DefaultMemory    = 256 << 20
)

// MaxPath is the largest length of the path of a file in a layer, in bytes. A
// path, a link target and extended attributes share one extended header, and
// readers take at most 1 MiB of it.
const MaxPath = 1<<20 - 4<<10

// ratioFloor is the number of inflated bytes at which Ratio begins to count: a
// small layer of zeros is not an attack.
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
