package engines

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/layerkeep/layerkeep/internal/resultdoc"
	"github.com/layerkeep/layerkeep/internal/testrun"
	"github.com/layerkeep/layerkeep/test/robustness/cutdisk"
)

const (
	document  = "../../docs/engines.md"
	tableName = "what the tests of test/engines saw working"
)

var update = flag.Bool("update", false, "write the table of docs/engines.md anew from this run")

// A recorder holds what the tests of this run saw working.
type recorder struct {
	mu      sync.Mutex
	results []result
	skipped bool
}

var record recorder

// did records, once the test t has passed, that an operation of an engine
// worked with a backend. It is called after the outcome was checked.
func did(t testing.TB, engine, version, backend, operation string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		record.mu.Lock()
		defer record.mu.Unlock()
		record.results = append(record.results, result{engine, version, backend, operation})
	})
}

// skip skips a test for want of something, and remembers that the run is not
// complete.
func skip(t testing.TB, reason string) {
	t.Helper()
	record.mu.Lock()
	record.skipped = true
	record.mu.Unlock()
	t.Skip(reason)
}

// complete reports whether all tests of the package were to run.
func complete() bool {
	chosen := func(name string) bool {
		f := flag.Lookup(name)
		return f != nil && f.Value.String() != ""
	}
	return !testing.Short() && !record.skipped && !chosen("test.run") && !chosen("test.skip")
}

// checkTable compares the run with the document, or writes the document.
func checkTable() error {
	if len(record.results) == 0 {
		return nil
	}
	written, err := resultdoc.Part(document, tableName)
	if err != nil {
		return err
	}
	if *update {
		if !complete() {
			return fmt.Errorf("%s is not written: only a part of the tests ran", document)
		}
		return resultdoc.Replace(document, tableName, table(record.results))
	}
	documented, err := parseTable(written)
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	if diff := differences(documented, record.results, complete()); len(diff) > 0 {
		return fmt.Errorf("the table in %s is not what ran (go test ./test/engines -update writes it):\n%s", document, strings.Join(diff, "\n"))
	}
	return nil
}

func TestMain(m *testing.M) {
	cutdisk.Main() // does not return in a process that was started to serve a disk
	flag.Parse()
	code := testrun.Tests{M: m}.Run()
	removeBuilt()
	if code == 0 {
		if err := checkTable(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
