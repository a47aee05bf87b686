package tar

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"github.com/layerkeep/layerkeep/diff"
)

func xzOf(t testing.TB, c xz.WriterConfig, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	require.NoError(t, err)
	_, err = w.Write(body)
	require.NoError(t, errors.Join(err, w.Close()))
	return b.Bytes()
}

// mixed is content of which only a part can be compressed.
func mixed(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, n/2)
	_, _ = r.Read(noise) // never fails
	return append(bytes.Repeat([]byte("a line that can be packed\n"), n/2/26+1), noise...)
}

func readAll(r io.Reader) ([]byte, error) {
	rc, _, err := NewDecompressor(r)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(rc)
	return got, errors.Join(err, rc.Close())
}

func TestXZStreamsAreRead(t *testing.T) {
	body := mixed(300_000)
	plain := xz.WriterConfig{DictCap: 1 << 20}
	one, empty := xzOf(t, plain, body), xzOf(t, plain, nil)
	zeros := make([]byte, 512)
	streams := map[string]struct{ stream, want []byte }{
		"one":             {one, body},
		"empty":           {empty, nil},
		"many blocks":     {xzOf(t, xz.WriterConfig{DictCap: 4096, BlockSize: 10_001}, body[:150_000]), body[:150_000]},
		"CRC-32":          {xzOf(t, xz.WriterConfig{CheckSum: xz.CRC32}, body), body},
		"SHA-256":         {xzOf(t, xz.WriterConfig{CheckSum: xz.SHA256}, body), body},
		"no check":        {xzOf(t, xz.WriterConfig{NoCheckSum: true}, body), body},
		"several streams": {slices.Concat(one, zeros[:4], empty, one), slices.Concat(body, body)},
		"padding":         {slices.Concat(one, zeros), body},
		"the largest":     {xzOf(t, xz.WriterConfig{DictCap: maxDictionary}, body[:100]), body[:100]},
	}
	for _, args := range [][]string{{"-9e"}, {"-0", "-T2", "--block-size=70000"}, {"--check=none"}} {
		if tool, err := exec.LookPath("xz"); err == nil {
			cmd := exec.Command(tool, append(args, "-c")...)
			cmd.Stdin = bytes.NewReader(body)
			out, err := cmd.Output()
			require.NoError(t, err)
			streams["xz "+args[0]] = struct{ stream, want []byte }{out, body}
		}
	}
	for name, c := range streams {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, XZ, DetectCompression(c.stream))
			for _, r := range []io.Reader{bytes.NewReader(c.stream), iotest.OneByteReader(bytes.NewReader(c.stream)), iotest.DataErrReader(bytes.NewReader(c.stream))} {
				got, err := readAll(r)
				require.NoError(t, err)
				require.True(t, bytes.Equal(c.want, got))
			}
		})
	}
}

func TestABadXZStreamIsAnError(t *testing.T) {
	body := mixed(20_000)
	good := xzOf(t, xz.WriterConfig{DictCap: 1 << 16, BlockSize: 501, CheckSum: xz.CRC64}, body[:10_000])
	for n := 12; n < len(good); n += 13 { // the cuts include the end of a block
		_, err := readAll(bytes.NewReader(good[:n]))
		require.Error(t, err, "cut at %d", n)
	}
	for at := 6; at < len(good); at += 53 {
		bad := bytes.Clone(good)
		bad[at] ^= 0x41
		got, err := readAll(bytes.NewReader(bad))
		require.Error(t, err, "changed at %d, got %d bytes", at, len(got))
	}
	_, err := readAll(bytes.NewReader(append(bytes.Clone(good), "text"...)))
	require.Error(t, err)
	broken := errors.New("connection lost")
	_, err = readAll(io.MultiReader(bytes.NewReader(good[:len(good)/2]), iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken)
}

// TestAnXZStreamGetsNoMoreMemoryThanIsSaid has a second block that asks for
// more than the first. So the check must come before the decompressor reads a
// block.
func TestAnXZStreamGetsNoMoreMemoryThanIsSaid(t *testing.T) {
	large := xzOf(t, xz.WriterConfig{DictCap: 2 * maxDictionary}, []byte("x"))
	small := xzOf(t, xz.WriterConfig{DictCap: 4096}, []byte("x"))
	for name, stream := range map[string][]byte{"at once": large, "in a second stream": slices.Concat(small, large)} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := readAll(bytes.NewReader(stream))
			runtime.ReadMemStats(&after)
			require.ErrorIs(t, err, diff.ErrInvalidLayer)
			require.ErrorContains(t, err, "a dictionary of 134217728 bytes, at most 67108864 are taken")
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(maxDictionary))
		})
	}
	_, err := readAll(bytes.NewReader(bytes.Repeat(small, maxBlocks+1)))
	require.ErrorIs(t, err, diff.ErrInvalidLayer)
	require.ErrorContains(t, err, "blocks")
}

func TestNumbersInXZStreams(t *testing.T) {
	for want, raw := range map[uint64]string{
		0: "\x00", 0x7f: "\x7f", 0x80: "\x80\x01", 0xff: "\xff\x01", 0x4000: "\x80\x80\x01",
		1<<63 - 1: "\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	} {
		value, size, err := (&xzGuard{from: bufio.NewReader(strings.NewReader(raw + "rest"))}).varint()
		require.NoError(t, err)
		require.Equal(t, want, value)
		require.Len(t, raw, size)
	}
	for raw, want := range map[string]error{
		"": io.ErrUnexpectedEOF, "\x80": io.ErrUnexpectedEOF, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00": diff.ErrInvalidLayer,
	} {
		_, _, err := (&xzGuard{from: bufio.NewReader(strings.NewReader(raw))}).varint()
		require.ErrorIs(t, err, want)
	}
}

func TestBzip2StreamsAreRead(t *testing.T) {
	packed, err := base64.StdEncoding.DecodeString(bzip2OfATest)
	require.NoError(t, err)
	require.Equal(t, Bzip2, DetectCompression(packed))
	got, err := readAll(iotest.OneByteReader(bytes.NewReader(append(packed, packed...))))
	require.NoError(t, err)
	require.Equal(t, "bzip2 of a test\nbzip2 of a test\n", string(got))
	_, err = readAll(bytes.NewReader(packed[:len(packed)-8]))
	require.Error(t, err)
	for _, c := range []Compression{XZ, Bzip2} {
		_, err := Compress(io.Discard, c)
		require.ErrorContains(t, err, c.String()+" is not written")
	}
}

func FuzzXZ(f *testing.F) {
	f.Add(xzOf(f, xz.WriterConfig{DictCap: 4096, BlockSize: 100}, mixed(400)))
	f.Add(xzOf(f, xz.WriterConfig{DictCap: 4096, CheckSum: xz.SHA256}, nil))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		rc, _, err := NewDecompressor(bytes.NewReader(raw))
		if err != nil {
			return
		}
		defer rc.Close()
		_, _ = io.CopyN(io.Discard, rc, 1<<20)
	})
}

// bzip2OfATest was made with bzip2(1), because no package here writes bzip2.
const bzip2OfATest = "QlpoOTFBWSZTWbFpjt0AAANZgAAQQAAQADMgzBAgACITE9I2QgGgA3XcAGKiVK0XckU4UJCxaY7d"
