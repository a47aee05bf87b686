package storeservice

import "google.golang.org/protobuf/proto"

// How much goes into one message. gRPC's own limit is 4 MiB.
const (
	portionBytes = 256 << 10
	chunkBytes   = 256 << 10
)

// portions sends a list in portions of about portionBytes.
func portions[M proto.Message](all []M, send func([]M) error) error {
	begin, size := 0, 0
	for i, m := range all {
		size += proto.Size(m)
		if size < portionBytes && i < len(all)-1 {
			continue
		}
		if err := send(all[begin : i+1]); err != nil {
			return err
		}
		begin, size = i+1, 0
	}
	return nil
}
