package robustness

import (
	"os"
	"testing"

	"github.com/layerkeep/layerkeep/internal/testrun"
)

func TestMain(m *testing.M) {
	serveDisk()
	code := testrun.Tests{M: m}.Run()
	removeBuilt()
	os.Exit(code)
}
