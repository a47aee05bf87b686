package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const source = `package p

import "fmt"

func f(a, b int) (int, error) {
	if a < b && b != 0 {
		return 0, fmt.Errorf("no")
	}
	each := func() error { return g() }
	return a + b, each()
}

func g() error { return nil }

func on() bool { return true }

func both() (bool, error) {
	if err := g(); err != nil {
		return false, err
	}
	if err := g(); err != nil {
		return true, fmt.Errorf("no")
	}
	return false, nil
}
`

func TestEveryPlaceIsChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.go")
	require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
	mutants, err := mutantsOf("p", file)
	require.NoError(t, err)
	var names []string
	for _, m := range mutants {
		names = append(names, m.name())
		require.NotEqual(t, source, string(m.text()))
	}
	require.ElementsMatch(t, []string{
		"p.go f: a < b && b != 0 -> !(a < b && b != 0)",
		"p.go f: && -> ||",
		"p.go f: < -> <=",
		"p.go f: != -> ==",
		`p.go f: fmt.Errorf("no") -> nil`,
		"p.go f: + -> -",
		"p.go f: each() -> nil",
		"p.go on: true -> false",
		"p.go both: err != nil -> !(err != nil)",
		"p.go both: != -> ==",
		"p.go both: err -> nil",
		"p.go both: err != nil -> !(err != nil)",
		"p.go both: != -> ==",
		`p.go both: fmt.Errorf("no") -> nil`,
		"p.go both: false -> true", // only that of the last return
	}, names)
}

// A module with a function that its test looks at, and one that it does not.
func TestWhatNoTestNoticesIsTold(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it runs the go command several times")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module example.org/p\n\ngo 1.24\n",
		"p.go":      "package p\n\nfunc Tested(n int) bool { return n > 2 }\n\nfunc Untested(n int) bool { return n > 2 }\n",
		"p_test.go": "package p\n\nimport \"testing\"\n\nfunc TestP(t *testing.T) {\n\tif Tested(2) || !Tested(3) {\n\t\tt.Fatal()\n\t}\n}\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	t.Chdir(dir)
	explained := filepath.Join(dir, "explained.txt")
	o := options{count: 0, seed: 1, least: 90, explained: explained}
	ok, err := run([]string{"."}, o)
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, os.WriteFile(explained, []byte("# known\np.go Untested: > -> >= # nobody calls it\n"), 0o600))
	ok, err = run([]string{"."}, o)
	require.NoError(t, err)
	require.True(t, ok)

	require.NoError(t, os.WriteFile(explained, []byte("p.go Untested: > -> >=\n"), 0o600))
	_, err = run([]string{"."}, o)
	require.ErrorContains(t, err, "no reason")
	require.NoError(t, os.WriteFile(explained, nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p.go"), []byte("package p\n\nfunc Tested(n int) bool { return n > 3 }\n"), 0o600))
	_, err = run([]string{"."}, o)
	require.ErrorContains(t, err, "fail without any change")
}
