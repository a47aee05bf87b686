package tar

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

const (
	// fuzzInflated is how many uncompressed bytes the fuzz target reads.
	fuzzInflated = 1 << 20
	// fuzzAllocated is how many bytes reading may allocate: twice the largest
	// window of zstd, the tables of the decoder, and the memory of the test itself.
	fuzzAllocated = 2*maxWindow + 64<<20
)

// FuzzDecompress reads any bytes as a stream of any compression, in a bounded
// amount of memory. The gzip of the standard library and the whole-buffer
// decoder of zstd must return the same bytes, or also an error.
func FuzzDecompress(f *testing.F) {
	for _, seed := range compressedSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, c, err := inflate(input)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(fuzzAllocated), "bytes allocated")

		want, wantErr := input, error(nil)
		switch c {
		case Gzip:
			want, wantErr = stdInflate(input)
		case Zstd:
			want, wantErr = inflateAtOnce(t, input)
			if errors.Is(wantErr, zstd.ErrDecoderSizeExceeded) {
				return
			}
		case XZ, Bzip2: // they have tests and a target of their own
			return
		}
		if len(want) > fuzzInflated || len(got) > fuzzInflated { // an error may come later
			n := min(len(want), len(got), fuzzInflated)
			require.True(t, bytes.Equal(want[:n], got[:n]), "another stream")
			return
		}
		require.Equal(t, wantErr == nil, err == nil, "%v: %v, the reference: %v", c, err, wantErr)
		if err == nil {
			require.True(t, bytes.Equal(want, got), "another stream")
		}
	})
}

// compressedSeeds are small streams of each compression.
func compressedSeeds(tb testing.TB) (seeds [][]byte) {
	tb.Helper()
	noise := make([]byte, 300)
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(rnd.UintN(256))
	}
	for _, c := range []Compression{None, Gzip, Zstd} {
		for _, body := range [][]byte{nil, noise, bytes.Repeat([]byte("layer "), 200)} {
			var b bytes.Buffer
			w, err := Compress(&b, c)
			require.NoError(tb, err)
			_, err = w.Write(body)
			require.NoError(tb, errors.Join(err, w.Close()))
			seeds = append(seeds, b.Bytes())
		}
	}
	gz, zst := seeds[5], seeds[8]
	return append(seeds, slices.Concat(gz, gz, make([]byte, 20)), slices.Concat(zst, []byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc"), zst),
		gz[:len(gz)-3], zst[:len(zst)-3], []byte("\xfd7zXZ\x00"), []byte("BZh91AY&SY"))
}

// inflate runs the tested code. It reads at most one byte more than the target
// does.
func inflate(input []byte) ([]byte, Compression, error) {
	rc, c, err := NewDecompressor(bytes.NewReader(input))
	if err != nil {
		return nil, c, err
	}
	got, err := io.ReadAll(io.LimitReader(rc, fuzzInflated+1))
	return got, c, errors.Join(err, rc.Close())
}

// stdInflate reads gzip members, and the padding after them, with the standard
// library. The standard library does not check the flags that must be zero (RFC
// 1952, 2.3.1.2).
func stdInflate(input []byte) (out []byte, err error) {
	from := bytes.NewReader(input)
	z := new(stdgzip.Reader)
	for {
		if at := len(input) - from.Len(); len(input) > at+3 && input[at+3]&0xe0 != 0 {
			return out, stdgzip.ErrHeader
		}
		if err := z.Reset(from); err != nil {
			return out, err
		}
		z.Multistream(false)
		part, err := io.ReadAll(io.LimitReader(z, fuzzInflated+1-int64(len(out))))
		out = append(out, part...)
		rest := input[len(input)-from.Len():]
		if err != nil || len(out) > fuzzInflated || len(rest) <= maxPadding && len(bytes.Trim(rest, "\x00")) == 0 {
			return out, err
		}
	}
}

// inflateAtOnce decodes zstd without a stream.
func inflateAtOnce(tb testing.TB, input []byte) ([]byte, error) {
	tb.Helper()
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
	require.NoError(tb, err)
	defer z.Close()
	return z.DecodeAll(input, nil)
}
