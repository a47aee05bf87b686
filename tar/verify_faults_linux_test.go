package tar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A brokenView fails to read one path, in one way.
type brokenView struct {
	diff.View
	op, path string
	err      error
	opened   *[]string // paths of the files that were opened
}

func (v brokenView) Root() (diff.Dir, error) {
	d, err := v.View.Root()
	return brokenDir{d, v, "."}, err
}

type brokenDir struct {
	diff.Dir
	v    brokenView
	path string
}

func (d brokenDir) fails(op, name string) error {
	if p := joinPath(d.path, name); op == d.v.op && p == d.v.path {
		return &os.PathError{Op: op, Path: p, Err: d.v.err}
	}
	return nil
}

func (d brokenDir) Lookup(name string) (diff.Node, error) {
	if err := d.fails("lookup", name); err != nil {
		return diff.Node{}, err
	}
	return d.Dir.Lookup(name)
}

func (d brokenDir) LookupXattrs(name string) (map[string]string, error) {
	if err := d.fails("xattrs", name); err != nil {
		return nil, err
	}
	return d.Dir.LookupXattrs(name)
}

func (d brokenDir) Readlink(name string) (string, error) {
	if err := d.fails("readlink", name); err != nil {
		return "", err
	}
	return d.Dir.Readlink(name)
}

func (d brokenDir) OpenDir(name string) (diff.Dir, error) {
	if err := d.fails("opendir", name); err != nil {
		return nil, err
	}
	sub, err := d.Dir.OpenDir(name)
	return brokenDir{sub, d.v, joinPath(d.path, name)}, err
}

func (d brokenDir) Names() ([]string, error) {
	if d.v.op == "names" && d.v.path == d.path {
		return nil, &os.PathError{Op: "names", Path: d.path, Err: d.v.err}
	}
	return d.Dir.Names()
}

func (d brokenDir) Open(name string) (io.ReadCloser, error) {
	if d.v.opened != nil {
		*d.v.opened = append(*d.v.opened, joinPath(d.path, name))
	}
	if err := d.fails("open", name); err != nil {
		return nil, err
	}
	f, err := d.Dir.Open(name)
	if err == nil && d.fails("read", name) != nil {
		return brokenFile{f, d.fails("read", name)}, nil
	}
	return f, err
}

type brokenFile struct {
	io.ReadCloser
	err error
}

func (f brokenFile) Read([]byte) (int, error) { return 0, f.err }

// verified applies two layers. It returns the tree of the first and the tree of
// both, in the directory root.
func verified(t *testing.T, base, layer []fstest.Entry) (parents, merged diff.View, stream []byte, root string) {
	t.Helper()
	b := newPlainBed(t, t.TempDir())
	_, err := b.apply(t, fstest.Layer(t, base...), UnpackOptions{})
	require.NoError(t, err)
	parents, stream = b.before(t), fstest.Layer(t, layer...)
	_, err = b.apply(t, stream, UnpackOptions{})
	require.NoError(t, err)
	return parents, b.merged(t), stream, b.root
}

var (
	faultBase  = []fstest.Entry{fstest.Dir("d"), fstest.File("d/below", "below"), fstest.File("d/linked", "linked"), fstest.Symlink("s", "d"), fstest.Dir("d/sub"), fstest.Symlink("d/linksym", "to")}
	faultLayer = []fstest.Entry{
		fstest.File("a", "a"), fstest.File("d/b", "body"), fstest.Symlink("l", "a"), fstest.Link("d/again", "d/linked"), fstest.Link("d/symagain", "d/linksym"),
		fstest.File("d/sub/deep", "deep"), fstest.File("s/through", "x"), fstest.File("z", strings.Repeat("z", 1<<20)),
	}
)

func TestVerifyNamesWhatTheDiskCannotRead(t *testing.T) {
	requireRoot(t)
	parents, merged, stream, _ := verified(t, faultBase, faultLayer)
	for _, c := range []struct {
		op, path string
		below    bool
		want     string
	}{
		{"lookup", "a", false, "a"}, {"lookup", "d", false, "d"}, {"xattrs", "d/b", false, "d/b"}, {"xattrs", "d", false, "d"},
		{"readlink", "l", false, "l"}, {"opendir", "d", false, "d"}, {"opendir", "d/sub", false, "d/sub"}, {"names", "d", false, "d"},
		{"open", "d/b", false, "d/b"}, {"read", "d/b", false, "d/b"}, {"read", "z", false, "z"}, {"read", "d/again", false, "d/again"},
		{"read", "d/below", false, "d/below"},
		{"lookup", "d/below", true, "d/below"}, {"opendir", "d/sub", true, "d/sub"}, {"read", "d/linked", true, "d/again"},
		{"lookup", "d/linked", true, "d/linked"}, {"xattrs", "d/linked", true, "d/linked"}, {"readlink", "d/linksym", true, "d/linksym"}, {"names", "d", true, "d"},
	} {
		for _, errno := range []error{syscall.EIO, syscall.EUCLEAN} {
			t.Run(fmt.Sprint(c.op, " ", strings.ReplaceAll(c.path, "/", " "), " ", c.below, " ", errno), func(t *testing.T) {
				p, m := parents, merged
				if c.below {
					p = brokenView{View: p, op: c.op, path: c.path, err: errno}
				} else {
					m = brokenView{View: m, op: c.op, path: c.path, err: errno}
				}
				v, err := Verify(t.Context(), bytes.NewReader(stream), p, m, VerifyOptions{ReadData: true})
				require.NoError(t, err)
				require.NotEmpty(t, v.Findings)
				for _, f := range v.Findings {
					require.Equal(t, FindingUnreadable, f.Kind, f.String())
					require.Equal(t, c.want, f.Path)
					require.Equal(t, c.below, f.Below)
					require.ErrorIs(t, f.Err, errno)
					require.Contains(t, f.String(), "cannot be read")
				}
				require.Len(t, v.Findings, 1)
			})
		}
	}
}

func TestVerifyGoesOnAfterAFileThatCannotBeRead(t *testing.T) {
	requireRoot(t)
	parents, merged, stream, root := verified(t, faultBase, faultLayer)
	require.NoError(t, os.Chmod(filepath.Join(root, "z"), 0o600))
	v, err := Verify(t.Context(), bytes.NewReader(stream), parents, brokenView{View: merged, op: "read", path: "a", err: syscall.EIO}, VerifyOptions{ReadData: true})
	require.NoError(t, err)
	require.Equal(t, []string{"/a: cannot be read: read a: input/output error", "/z: mode is 0600; the tar: 0644"}, texts(v.Findings))
}

func TestVerifyReturnsErrorsThatAreNoDamage(t *testing.T) {
	requireRoot(t)
	parents, merged, stream, _ := verified(t, faultBase, faultLayer)
	for _, op := range []string{"open", "read", "xattrs", "lookup"} {
		_, err := Verify(t.Context(), bytes.NewReader(stream), parents, brokenView{View: merged, op: op, path: "d/b", err: syscall.EACCES}, VerifyOptions{ReadData: true})
		require.ErrorIs(t, err, syscall.EACCES, op)
		require.NotErrorIs(t, err, diff.ErrInvalidLayer)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Verify(ctx, bytes.NewReader(stream), parents, merged, VerifyOptions{})
	require.ErrorIs(t, err, context.Canceled)
	broken := errors.New("broken pipe")
	_, err = Verify(t.Context(), io.MultiReader(bytes.NewReader(stream[:700]), failing{broken}), parents, merged, VerifyOptions{})
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, diff.ErrInvalidLayer)
}

// While the tar is read, a damaged file of the parents counts as missing, and
// there is a finding for it. Any other error is returned.
func TestDamageOfTheParentsIsAFindingAndOtherErrorsAreNot(t *testing.T) {
	requireRoot(t)
	parents, _, _, _ := verified(t, faultBase, faultLayer)
	for op, c := range map[string]struct {
		try     func(d diff.Dir) error
		missing bool // otherwise the file exists, and nothing is known about it
	}{
		"lookup":   {func(d diff.Dir) error { _, err := d.Lookup("sub"); return err }, true},
		"opendir":  {func(d diff.Dir) error { _, err := d.OpenDir("sub"); return err }, true},
		"xattrs":   {func(d diff.Dir) error { _, err := d.LookupXattrs("sub"); return err }, false},
		"readlink": {func(d diff.Dir) error { _, err := d.Readlink("sub"); return err }, false},
	} {
		for _, errno := range []error{syscall.EIO, syscall.EACCES} {
			v := &verifier{findings: &collector{max: 10}}
			v.reading = newReading(t.Context(), UnpackOptions{})
			root, err := guardedView{brokenView{View: parents, op: op, path: "d/sub", err: errno}, v}.Root()
			require.NoError(t, err)
			d, err := root.OpenDir("d")
			require.NoError(t, err)
			err = c.try(d)
			switch {
			case errno == syscall.EACCES:
				require.ErrorIs(t, err, errno, op)
				require.Empty(t, v.findings.list, op)
				continue
			case c.missing:
				require.ErrorIs(t, err, os.ErrNotExist, op)
			default:
				require.NoError(t, err, op)
			}
			require.Len(t, v.findings.list, 1, op)
			require.Equal(t, "d/sub", v.findings.list[0].Path)
			require.True(t, v.findings.list[0].Below)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestVerifyOpensNoFileWithoutReadData(t *testing.T) {
	requireRoot(t)
	parents, merged, stream, _ := verified(t, faultBase, faultLayer)
	var opened []string
	v, err := Verify(t.Context(), bytes.NewReader(stream), brokenView{View: parents, opened: &opened}, brokenView{View: merged, opened: &opened}, VerifyOptions{})
	require.NoError(t, err)
	require.True(t, v.OK())
	require.Empty(t, opened)
}

func TestVerifyReadsEveryBodyOnceInTheOrderOfTheTar(t *testing.T) {
	requireRoot(t)
	layer := []fstest.Entry{fstest.File("z", "z"), fstest.File("a/2", "2"), fstest.File("m", ""), fstest.File("a/1", "1"), fstest.Link("a/3", "a/1")}
	parents, merged, stream, _ := verified(t, nil, layer)
	var opened []string
	v, err := Verify(t.Context(), bytes.NewReader(stream), parents, brokenView{View: merged, opened: &opened}, VerifyOptions{ReadData: true})
	require.NoError(t, err)
	require.True(t, v.OK())
	require.Equal(t, []string{"z", "a/2", "a/1"}, opened)
}
