package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/tar"
)

// verify compares a layer with a stream that it should hold, and with the
// layers below it.
func verify(ctx context.Context, d driver.Driver, id driver.ID, chain []driver.ID, stream []byte, opts tar.VerifyOptions) (v tar.Verified, err error) {
	var parents diff.View
	if len(chain) > 0 {
		if parents, err = d.View(ctx, chain[0]); err != nil {
			return v, err
		}
		defer func() { err = errors.Join(err, parents.Close()) }()
	}
	merged, err := d.View(ctx, id)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, merged.Close()) }()
	return tar.Verify(ctx, bytes.NewReader(stream), parents, merged, opts)
}

func findings(v tar.Verified) string {
	var lines []string
	for _, f := range v.Findings {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

// requireVerified fails unless [tar.Verify] finds nothing, with data and
// without.
func (st *store) requireVerified(id driver.ID, stream []byte, what string) {
	st.t.Helper()
	for _, readData := range []bool{true, false} {
		opts := tar.VerifyOptions{ReadData: readData, UserNS: !st.can.owners}
		v, err := verify(st.ctx(), st.d, id, st.parents[id], stream, opts)
		require.NoError(st.t, err, "verify %s, %s", id, what)
		require.Empty(st.t, findings(v), "verify %s, %s", id, what)
	}
}

// verify fails the run unless Verify finds nothing.
func (r *run) verify(s *subject, id driver.ID, stream []byte, what string) {
	r.Helper()
	for _, readData := range []bool{true, false} {
		v, err := verify(r.ctx, s.d, id, r.chain, stream, tar.VerifyOptions{ReadData: readData})
		r.check(err, "%s: verify %s, %s", s.name, id, what)
		if !v.OK() {
			r.fail("%s: verify %s, %s:\n%s", s.name, id, what, findings(v))
		}
	}
}

// verifyEdited fails the run unless Verify finds in an edited layer what the
// edits have changed since the stream was applied, and nothing else.
func (r *run) verifyEdited(id driver.ID, stream []byte, before, after fstest.Tree) {
	r.Helper()
	if stream == nil {
		return // nothing was applied
	}
	r.each(func(s *subject) {
		v, err := verify(r.ctx, s.d, id, r.chain, stream, tar.VerifyOptions{ReadData: true, MaxFindings: 1 << 20})
		r.check(err, "%s: verify the edited %s", s.name, id)
		if text := misjudged(v.Findings, before, after); text != "" {
			r.fail("%s: verify the edited %s: %s\nfindings:\n%s\ndifferences:\n%s", s.name, id, text, findings(v), fstest.Compare(before, after))
		}
	})
}

// misjudged says, in words, what findings leave out of the difference of two
// trees, or have too much.
func misjudged(list []tar.Finding, before, after fstest.Tree) string {
	found := map[string]bool{}
	for _, f := range list {
		found[f.Path] = true
		if before[f.Path].String() == after[f.Path].String() {
			return fmt.Sprintf("/%s has not changed", f.Path)
		}
	}
	for _, p := range slices.Concat(before.Paths(), after.Paths()) {
		old, now := before[p], after[p]
		if old.Mode != 0 && now.Mode != 0 {
			now.Link = old.Link // one finding says it, at one of the names
		}
		if old.String() != now.String() && !found[p] && !explained(found, p, old.Link, after) {
			return fmt.Sprintf("nothing is said of /%s", p)
		}
	}
	return ""
}

// explained reports whether a change needs no finding of its own: because that
// of a directory above says it all, or that of another name of the same file.
func explained(found map[string]bool, p, link string, after fstest.Tree) bool {
	for dir := p; strings.Contains(dir, "/"); {
		dir = dir[:strings.LastIndexByte(dir, '/')]
		if found[dir] {
			return true
		}
	}
	for other, n := range after {
		if found[other] && n.Link != "" && (n.Link == after[p].Link || n.Link == link) {
			return true
		}
	}
	return false
}
