// Testreport turns the stream of `go test -json` into something to read: the
// closing line of every package as go test prints it, below it one line for
// each suite, and at the end every failure with its output and every skipped
// test with its reason. It exits with 1 when anything failed.
//
//	go test -json ./... | testreport -label "as root" -skips skips.txt
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	label := flag.String("label", "", "what to call this run")
	skips := flag.String("skips", "", "append the skipped tests to this file instead of printing them")
	flag.Parse()
	ok, err := run(os.Stdin, os.Stdout, *label, *skips)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run reports whether everything in the stream passed.
func run(in io.Reader, out io.Writer, label, skips string) (bool, error) {
	r := newReport(out)
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.line(line)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
	}
	r.finish(label)
	if skips == "" {
		r.writeSkips(out, label)
		return r.ok(), nil
	}
	f, err := os.OpenFile(skips, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return false, err
	}
	r.writeSkips(f, label)
	return r.ok(), f.Close()
}
