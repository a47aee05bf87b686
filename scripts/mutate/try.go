package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// timeout is how long the tests of a package may take with a change: one that
// makes a loop endless is noticed by that.
const timeout = 20 * time.Minute

type goPackage struct {
	ImportPath, Dir string
	GoFiles         []string
}

func list(patterns []string) ([]goPackage, error) {
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,GoFiles"}, patterns...)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("go list: %s", exit.Stderr)
		}
		return nil, err
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
	return packages, nil
}

func (p goPackage) mutants() (all []mutant, err error) {
	for _, name := range p.GoFiles {
		found, err := mutantsOf(p.ImportPath, filepath.Join(p.Dir, name))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func contains(m mutant, text string) bool {
	return strings.Contains(fmt.Sprintf("%s:%d %s", filepath.Base(m.file), m.line, m.name()), text)
}

// passes makes sure that the tests pass without a change: else each would seem
// noticed.
func (p goPackage) passes() error {
	out, err := p.test()
	if err == nil {
		out, err = p.test("-short")
	}
	if err != nil {
		return fmt.Errorf("the tests of %s fail without any change:\n%s", p.ImportPath, out)
	}
	return nil
}

func (p goPackage) test(more ...string) ([]byte, error) {
	args := append([]string{"test", "-failfast", "-vet=off", "-timeout", timeout.String()}, more...)
	return exec.Command("go", append(args, p.ImportPath)...).CombinedOutput()
}

// faultSuite is the test of a backend that lets system calls fail, by default
// some of each operation.
const faultSuite = "TestNoErrorOfASystemCallVanishes"

func (p goPackage) testFaults(more ...string) ([]byte, error) {
	out, err := exec.Command("go", "test", "-list", faultSuite, p.ImportPath).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(faultSuite)) {
		return out, err
	}
	return p.test(append(more, "-run", faultSuite+"/fast", "-faults", time.Minute.String())...)
}

type tally struct{ noticed, explained, survived int }

func (t *tally) add(o tally) {
	t.noticed += o.noticed
	t.explained += o.explained
	t.survived += o.survived
}

func (t tally) percent() float64 {
	all := t.noticed + t.explained + t.survived
	if all == 0 {
		return 0
	}
	return float64(t.noticed+t.explained) * 100 / float64(all)
}

func (t tally) String() string {
	return fmt.Sprintf("%d noticed, %d survived for a reason, %d survived (%.0f %%)", t.noticed, t.explained, t.survived, t.percent())
}

// try runs the short tests with each mutant, and all where these do not notice
// it, in the end with many more system calls that fail. A mutant that does not
// build counts for nothing.
func (p goPackage) try(mutants []mutant, reasons map[string]string) (t tally, err error) {
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for i, m := range mutants {
		fmt.Fprintf(os.Stderr, "%d of %d: %s:%d %s\n", i+1, len(mutants), m.file, m.line, m.name())
		overlay, err := m.write(dir)
		if err != nil {
			return t, err
		}
		explained := reasons[m.name()] != ""
		out, err := p.test("-short", "-overlay", overlay)
		if err == nil && !explained {
			out, err = p.test("-overlay", overlay)
		}
		if err == nil && !explained {
			out, err = p.testFaults("-overlay", overlay)
		}
		switch {
		case err != nil && bytes.Contains(out, []byte("[build failed]")):
		case err != nil:
			t.noticed++
		case explained:
			t.explained++
		default:
			t.survived++
			fmt.Printf("survived: %s:%d %s\n", m.file, m.line, m.name())
		}
	}
	return t, nil
}

// write writes the changed file and the overlay for the go command that names
// it.
func (m mutant) write(dir string) (overlay string, err error) {
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, m.text(), 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{m.file: changed}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// readExplained reads lines "NAME # REASON". No file explains nothing.
func readExplained(path string) (map[string]string, error) {
	reasons := map[string]string{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return reasons, nil
	}
	if err != nil {
		return nil, err
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		name, reason, ok := strings.Cut(s.Text(), " # ")
		if strings.TrimSpace(s.Text()) == "" || strings.HasPrefix(s.Text(), "#") {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("%s: no reason for %q", path, s.Text())
		}
		reasons[name] = reason
	}
	return reasons, nil
}
