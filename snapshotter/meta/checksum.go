package meta

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// A JSON object ends with a member "sum": the checksum of the key and of
// everything before this member. So earlier versions can still read the row. A
// value that an earlier version wrote has no checksum and is accepted as it is.
const (
	sumBegin = `,"sum":"`
	sumEnd   = `"}`
	sumLen   = len(sumBegin) + 2*crc32.Size + len(sumEnd)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key string, raw []byte) string {
	sum := crc32.New(castagnoli)
	// With the lengths, moving bytes between key and value changes the checksum.
	fmt.Fprintf(sum, "%d %s %d ", len(key), key, len(raw))
	_, _ = sum.Write(raw)
	return hex.EncodeToString(sum.Sum(nil))
}

// addSum adds the checksum to a value. A value that is not a JSON object with
// members, for example an address, stays as it is.
func addSum(key string, raw []byte) []byte {
	if len(raw) <= len("{}") || raw[0] != '{' || raw[len(raw)-1] != '}' {
		return raw
	}
	body := raw[:len(raw)-1]
	out := make([]byte, 0, len(body)+sumLen)
	out = append(out, body...)
	out = append(out, sumBegin...)
	out = append(out, checksum(key, body)...)
	return append(out, sumEnd...)
}

// takeSum returns a value without its checksum. It returns ErrDamaged when the
// checksum is not that of the value under this key.
func takeSum(key string, raw []byte) ([]byte, error) {
	cut := len(raw) - sumLen
	if cut <= 0 || !bytes.HasPrefix(raw[cut:], []byte(sumBegin)) || !bytes.HasSuffix(raw, []byte(sumEnd)) {
		return raw, nil
	}
	body := raw[:cut]
	said := string(raw[cut+len(sumBegin) : len(raw)-len(sumEnd)])
	if said != checksum(key, body) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return append(bytes.Clone(body), '}'), nil
}
