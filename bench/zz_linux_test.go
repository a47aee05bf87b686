package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	begun := time.Now()
	r, err := Run(t.Context(), Options{Scratch: t.TempDir(), FileSystems: strings.Split(os.Getenv("ZZFS"), ","), Quick: os.Getenv("ZZFULL") == "", Time: 10 * time.Minute, Suites: strings.Split(os.Getenv("ZZ"), ","), Progress: func(p Progress) {
		fmt.Printf("%v %+v\n", time.Since(begun).Round(time.Millisecond), p)
	}})
	for _, res := range r.Results {
		fmt.Printf("%s %s %s n=%d %.100s %s\n", res.Place, res.Name(), res.Subject, res.Rounds, res.Skipped, res.Note)
		for _, m := range res.Metrics {
			fmt.Printf("     %s %s n=%d %.6g\n", m.Name, m.Unit, len(m.Samples), m.Samples[len(m.Samples)/2])
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
