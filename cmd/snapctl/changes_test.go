package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
)

// someChanges is a sequence that calls before ahead of every change.
func someChanges(n int, before func(i int) error) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		for i := range n {
			if err := before(i); err != nil {
				yield(diff.Change{}, err)
				return
			}
			if !yield(diff.Change{Kind: diff.Add, Path: fmt.Sprintf("<d>/f%06d", i)}, nil) {
				return
			}
		}
	}
}

func noError(int) error { return nil }

func listed(t *testing.T, asJSON bool, changes iter.Seq2[diff.Change, error]) (string, error) {
	t.Helper()
	var out bytes.Buffer
	a := &app{streams: streams{Out: &out}, global: globalOptions{json: asJSON}}
	err := a.writeChanges("the key", changes)
	return out.String(), err
}

func TestChangesArePrintedWhileTheyAreSought(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		r, w := io.Pipe()
		lines, done := bufio.NewReader(r), make(chan error)
		line := make(chan string)
		go func() {
			a := &app{streams: streams{Out: w}, global: globalOptions{json: asJSON}}
			err := a.writeChanges("key", someChanges(3, func(i int) error {
				if i > 0 { // what came before has been read by whoever reads
					for !strings.Contains(<-line, fmt.Sprintf("f%06d", i-1)) {
					}
				}
				return nil
			}))
			done <- errors.Join(err, w.Close())
		}()
		for found := 0; found < 2; {
			text, err := lines.ReadString('\n')
			if asJSON && errors.Is(err, io.EOF) {
				t.Fatal("the object ended early")
			}
			require.NoError(t, err)
			if strings.Contains(text, "/f") {
				found++
			}
			line <- text
		}
		go func() { _, _ = io.Copy(io.Discard, lines) }()
		require.NoError(t, <-done)
	}
}

func TestChangesInJSONAreTheObjectThatIsDocumented(t *testing.T) {
	for _, n := range []int{0, 1, 2} {
		got, err := listed(t, true, someChanges(n, noError))
		require.NoError(t, err)
		want := changesResult{Key: "the key", Changes: []changeJSON{}}
		for c := range someChanges(n, noError) {
			want.Changes = append(want.Changes, newChangeJSON(c.Kind, absolute(c)))
		}
		var whole bytes.Buffer
		a := &app{streams: streams{Out: &whole}}
		require.NoError(t, a.printJSON(want))
		require.Equal(t, whole.String(), got)
		require.True(t, json.Valid([]byte(got)))
	}
}

var errWalk = errors.New("walk went wrong")

func TestChangesBeforeAnErrorArePrinted(t *testing.T) {
	fail := func(at int) func(int) error {
		return func(i int) error {
			if i == at {
				return errWalk
			}
			return nil
		}
	}
	got, err := listed(t, false, someChanges(3, fail(2)))
	require.ErrorIs(t, err, errWalk)
	require.Equal(t, "A /<d>/f000000\nA /<d>/f000001\n", got)

	got, err = listed(t, true, someChanges(3, fail(2)))
	require.ErrorIs(t, err, errWalk)
	require.Contains(t, got, "f000001")
	require.False(t, json.Valid([]byte(got)), "an object that is cut short is not taken for a whole one")

	for _, asJSON := range []bool{false, true} {
		got, err = listed(t, asJSON, someChanges(1, fail(0)))
		require.ErrorIs(t, err, errWalk)
		require.Empty(t, got)
	}
}

type fullDisk struct{ room int }

var errFull = errors.New("disk full")

func (w *fullDisk) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestAFullDiskEndsTheListing(t *testing.T) {
	for _, room := range []int{0, 10, 40_000} {
		sought := 0
		a := &app{streams: streams{Out: &fullDisk{room}}}
		err := a.writeChanges("key", someChanges(1_000_000, func(int) error { sought++; return nil }))
		require.ErrorIs(t, err, errFull)
		require.Less(t, sought, 1_000_000)
	}
}
