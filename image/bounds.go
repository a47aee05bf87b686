package image

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Bounds of what is read of one source before its layers. All of it is somebody
// else's, and compressed JSON of a few kilobytes can ask for gigabytes. What is
// beyond a bound is refused with ErrInvalid. TestHostileJSONTakesLittleMemory
// holds a process that reads such a source below 150 MiB; it takes about 60 MiB
// and 2 s of processor time.
const (
	// maxDocument is the length in bytes of a manifest, an index, a config or
	// another document, with room for large configs.
	maxDocument = 8 << 20
	// maxDocuments is the length in bytes of all documents read for one import.
	maxDocuments = 128 << 20
	// maxJSONValues is how many values, and names of them, one document has. An
	// index that lists maxCandidates images with their platforms has about 200,000.
	maxJSONValues = 400_000
	// maxJSONDepth is how deep objects and lists stand in each other.
	maxJSONDepth = 100
	// maxCandidates is how many images a source lists, and entries one list of them
	// has.
	maxCandidates = 10_000
	// maxListedImages counts an image as often as it is listed, by whatever index.
	maxListedImages = 100_000
	// maxNames is how many names, and places in the source, one image has.
	maxNames = 1_000
	// maxText is the length in bytes of a name, a digest or a media type.
	maxText = 4 << 10
	// maxIndexDepth is how deep indexes stand in each other, and maxIndexes how
	// many there are.
	maxIndexDepth = 8
	maxIndexes    = 256
	// maxLayers is how many layers an image has, whatever the backend can stack.
	maxLayers = 2_000
	// maxArchiveEntries and maxArchiveNames are how many entries an archive has,
	// and how many bytes their names.
	maxArchiveEntries = 200_000
	maxArchiveNames   = 32 << 20
)

// errBound is in the errors of a bound, which nothing else is tried after.
var errBound error = &sentinel{"too much to read", ErrInvalid}

// parseJSON is json.Unmarshal of what is not too much for it.
func parseJSON(raw []byte, into any) error {
	if err := checkJSON(raw); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// checkJSON counts the values of a document without keeping any. It need not be
// JSON: what that is, the parser decides.
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

// checkList refuses a list of JSON with more elements than that, before it is
// parsed.
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

// eachMark calls see for what stands around the values of a document, outside
// of strings: brackets, braces, commas and colons, with the depth behind each.
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

// endOfString returns where the string that begins at i ends.
func endOfString(raw []byte, i int) int {
	for i++; i < len(raw) && raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i
}

// A budgetBag counts the bytes of the documents that are read.
type budgetBag struct {
	bag
	left int64
}

// spend takes the length of a document from what is left.
func (b *budgetBag) spend(n int64) error {
	if b.left -= n; b.left < 0 {
		return fmt.Errorf("%w: more than %d bytes of manifests and configs", errBound, maxDocuments)
	}
	return nil
}

// spend counts a document of n bytes of a bag that is on a budget.
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

// bounded reports whether an error is of a bound.
func bounded(err error) bool { return errors.Is(err, errBound) }
