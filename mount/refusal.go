package mount

import (
	"errors"
	"slices"
	"strings"
)

// A refusal is the error of one way of mounting after which the next way is
// worth a try: the kernel, or a seccomp filter, does not have what the way
// needs.
type refusal struct {
	err error
	// to is the way to try next; zero for the one that follows.
	to Way
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// refused marks an error as a refusal; nil stays nil.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return &refusal{err: err}
}

func isRefused(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// after returns the way to try after w has refused with err.
func (w Way) after(err error) Way {
	var r *refusal
	if errors.As(err, &r) && r.to > w {
		return r.to
	}
	return w + 1
}

// A refusals error says what every way of mounting answered. It matches what
// the last one answered: the ways before it were only not to be had.
type refusals struct {
	ways []Way
	errs []error
}

func (r *refusals) add(w Way, err error) {
	r.ways, r.errs = append(r.ways, w), append(r.errs, err)
}

// Error gives every answer once, with the ways that gave it.
func (r *refusals) Error() string {
	var texts []string
	by := map[string][]string{}
	for i, err := range r.errs {
		text := err.Error()
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
		by[text] = append(by[text], r.ways[i].String())
	}
	if len(texts) == 1 {
		return texts[0]
	}
	for i, text := range texts {
		texts[i] = strings.Join(by[text], ", ") + ": " + text
	}
	return strings.Join(texts, "; ")
}

func (r *refusals) Unwrap() error { return r.errs[len(r.errs)-1] }
