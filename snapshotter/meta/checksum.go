package meta

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// A value ends with a member of its own: the checksum of the key and of all
// before the member. So a row is still the JSON object that earlier versions
// read, and a value that one of them wrote has none and is taken as it is.
const (
	sumBegin = `,"sum":"`
	sumEnd   = `"}`
	sumLen   = len(sumBegin) + 2*crc32.Size + len(sumEnd)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key string, raw []byte) string {
	sum := crc32.New(castagnoli)
	// Their lengths keep what moved between the two from going unnoticed.
	fmt.Fprintf(sum, "%d %s %d ", len(key), key, len(raw))
	_, _ = sum.Write(raw)
	return hex.EncodeToString(sum.Sum(nil))
}

// addSum gives a value its checksum. What is no JSON object with members, an
// address say, stays as it is.
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

// takeSum returns a value without its checksum, and ErrDamaged if that is not
// the one of the value under this key.
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
