package meta

import (
	"encoding/binary"
	"iter"
	"os"
)

// writeRuns writes checksums to their positions in the file. They come in the
// order of pages. writeRuns writes the checksums of neighbouring pages with one
// call.
func writeRuns(f *os.File, sums iter.Seq2[uint64, uint32]) error {
	var run []byte
	var begin uint64
	flush := func() error {
		if len(run) == 0 {
			return nil
		}
		_, err := f.WriteAt(run, sumOffset(begin))
		run = run[:0]
		return err
	}
	for page, sum := range sums {
		if begin+uint64(len(run)/sumSize) != page || len(run) >= sumsHeader {
			if err := flush(); err != nil {
				return err
			}
			begin = page
		}
		run = binary.LittleEndian.AppendUint32(run, sum)
	}
	return flush()
}
