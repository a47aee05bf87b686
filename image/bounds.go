package image

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Limits on the data that is read of one source before its layers. A source is
// hostile input, and compressed JSON of a few kilobytes can ask for gigabytes
// of memory. A source that exceeds a limit gives ErrInvalid.
// TestHostileJSONTakesLittleMemory verifies that a process that reads such a
// source stays below 150 MiB; it takes about 60 MiB and 2 s of processor time.
const (
	// maxDocument is the largest size in bytes of a manifest, an index, a config or
	// another document. It leaves room for large configs.
	maxDocument = 8 << 20
	// maxDocuments is the largest size in bytes of all documents of one import
	// together.
	maxDocuments = 128 << 20
	// maxJSONValues is the largest number of values and keys in one document. An
	// index that lists maxCandidates images with their platforms has about 200,000.
	maxJSONValues = 400_000
	// maxJSONDepth is the largest depth of nested objects and lists.
	maxJSONDepth = 100
	// maxCandidates is the largest number of images in a source, and of entries in
	// one list.
	maxCandidates = 10_000
	// maxListedImages is a limit for which an image counts each time that an index
	// lists it.
	maxListedImages = 100_000
	// maxNames is the largest number of names of one image, and of places that list
	// it.
	maxNames = 1_000
	// maxText is the largest length in bytes of a name, a digest or a media type.
	maxText = 4 << 10
	// maxIndexDepth is the largest depth of nested indexes. maxIndexes is the
	// largest number of indexes.
	maxIndexDepth = 8
	maxIndexes    = 256
	// maxLayers is the largest number of layers of an image, independent of the
	// backend.
	maxLayers = 2_000
	// maxArchiveEntries is the largest number of entries in an archive.
	// maxArchiveNames is the largest size of their names in bytes.
	maxArchiveEntries = 200_000
	maxArchiveNames   = 32 << 20
)

// errBound is in the error of every limit. After such an error, no other way to
// read the source is tried.
var errBound error = &sentinel{"too much to read", ErrInvalid}

// parseJSON is json.Unmarshal with limits on the number and depth of values.
func parseJSON(raw []byte, into any) error {
	if err := checkJSON(raw); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// checkJSON counts the values of a document without storing them. The document
// need not be valid JSON: the parser decides that.
func checkJSON(raw []byte) error {
	values := 0
	return eachMark(raw, func(mark byte, depth int) error {
		if mark != '}' && mark != ']' {
			values++
		}
		switch {
		case values > maxJSONValues:
			return fmt.Errorf("%w: a document of more than %d values", errBound, maxJSONValues)
		case depth > maxJSONDepth:
			return fmt.Errorf("%w: a document of more than %d levels", errBound, maxJSONDepth)
		}
		return nil
	})
}

// checkList returns an error for a JSON list with more than most elements,
// before it is parsed.
func checkList(list json.RawMessage, most int, what string) error {
	elements := 0
	return eachMark(list, func(mark byte, depth int) error {
		if mark == ',' && depth == 1 {
			elements++
		}
		if elements >= most {
			return fmt.Errorf("%w: more than %d %s", errBound, most, what)
		}
		return nil
	})
}

// eachMark calls see for each bracket, brace, comma and colon outside of
// strings, with the depth after it.
func eachMark(raw []byte, see func(mark byte, depth int) error) error {
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = endOfString(raw, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',', ':':
		default:
			continue
		}
		if err := see(raw[i], depth); err != nil {
			return err
		}
	}
	return nil
}

// endOfString returns the index of the end of the string that begins at index
// i.
func endOfString(raw []byte, i int) int {
	for i++; i < len(raw) && raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i
}

// A budgetBag limits the total size of the documents that are read.
type budgetBag struct {
	bag
	left int64
}

// spend subtracts the size of a document in bytes.
func (b *budgetBag) spend(n int64) error {
	if b.left -= n; b.left < 0 {
		return fmt.Errorf("%w: more than %d bytes of manifests and configs", errBound, maxDocuments)
	}
	return nil
}

// spend subtracts n bytes if the bag has a budget.
func spend(b bag, n int64) error {
	for {
		switch x := b.(type) {
		case *budgetBag:
			return x.spend(n)
		case *dirTransport:
			b = x.bag
		default:
			return nil
		}
	}
}

// bounded reports whether an error says that a limit was exceeded.
func bounded(err error) bool { return errors.Is(err, errBound) }
