package drivertest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// rawEntry is an entry that the standard library refuses to write.
type rawEntry struct {
	name     string
	linkname string
	flag     byte
	body     string
	// v7 leaves out the magic of later formats.
	v7 bool
	// gnu writes GNU's magic.
	gnu bool
	pax map[string]string
}

const blockSize = 512

// rawLayer writes entries block by block.
func rawLayer(entries ...rawEntry) []byte {
	var buf bytes.Buffer
	for _, e := range entries {
		if len(e.pax) > 0 {
			records := paxRecords(e.pax)
			rawBlock(&buf, rawEntry{name: "PaxHeaders/x", flag: 'x', body: records})
		}
		rawBlock(&buf, e)
	}
	buf.Write(make([]byte, 2*blockSize))
	return buf.Bytes()
}

func rawBlock(buf *bytes.Buffer, e rawEntry) {
	var h [blockSize]byte
	copy(h[0:100], e.name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", len(e.body)))
	copy(h[136:], "00000000011\x00")
	copy(h[148:], "        ")
	h[156] = e.flag
	copy(h[157:257], e.linkname)
	switch {
	case e.gnu:
		copy(h[257:], "ustar  \x00")
	case !e.v7:
		copy(h[257:], "ustar\x0000")
	}
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	buf.Write(h[:])
	buf.WriteString(e.body)
	if rest := len(e.body) % blockSize; rest != 0 {
		buf.Write(make([]byte, blockSize-rest))
	}
}

func paxRecords(records map[string]string) string {
	var keys []string
	for k := range records {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	s := ""
	for _, k := range keys {
		record := fmt.Sprintf(" %s=%s\n", k, records[k])
		size := len(record)
		for size != len(fmt.Sprint(size))+len(record) {
			size = len(fmt.Sprint(size)) + len(record)
		}
		s += fmt.Sprint(size) + record
	}
	return s
}

func gzipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(data)
	require.NoError(tb, err)
	require.NoError(tb, w.Close())
	return buf.Bytes()
}

func zstded(tb testing.TB, data []byte) []byte {
	tb.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(tb, err)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// skippable is a zstd frame that readers skip.
func skippable(content string) []byte {
	n := len(content)
	return append([]byte{0x50, 0x2a, 0x4d, 0x18, byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, content...)
}
