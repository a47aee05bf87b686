package recipe_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	stdtar "archive/tar"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/recipe"
)

// written is a tar with what no other program would write in the same way: a
// GNU header, names in several forms, padding behind the end.
func written(t *testing.T, pad int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := stdtar.NewWriter(&b)
	for _, h := range []stdtar.Header{
		{Name: "./", Typeflag: stdtar.TypeDir, Mode: 0o755},
		{Name: "./usr/", Typeflag: stdtar.TypeDir, Mode: 0o755},
		{Name: "./usr/lib/", Typeflag: stdtar.TypeDir, Mode: 0o750, Format: stdtar.FormatGNU},
		{Name: "lib", Typeflag: stdtar.TypeSymlink, Linkname: "usr/lib"},
		{Name: "usr/abs", Typeflag: stdtar.TypeSymlink, Linkname: "/usr"},
		{Name: "lib/through", Typeflag: stdtar.TypeReg, Mode: 0o4755, Size: 7},
		{Name: "/usr//lib/./plain", Typeflag: stdtar.TypeReg, Mode: 0o644, Size: 5},
		{Name: "usr/abs/lib/../top", Typeflag: stdtar.TypeReg, Mode: 0o644, Size: 3},
		{Name: "usr/link", Typeflag: stdtar.TypeLink, Linkname: "lib/through"},
		{Name: "usr/" + strings.Repeat("n", 200), Typeflag: stdtar.TypeReg, Size: 600, PAXRecords: map[string]string{"LIBARCHIVE.x": "y"}},
		{Name: ".wh.gone", Typeflag: stdtar.TypeReg},
	} {
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write(bytes.Repeat([]byte{'x'}, int(h.Size)))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	b.Write(make([]byte, pad))
	return b.Bytes()
}

// tree is what the tar is unpacked to.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(root+"/usr/lib", 0o755))
	require.NoError(t, os.Symlink("usr/lib", root+"/lib"))
	require.NoError(t, os.Symlink("/usr", root+"/usr/abs"))
	for name, n := range map[string]int{"lib/through": 7, "usr/lib/plain": 5, "usr/top": 3, "usr/" + strings.Repeat("n", 200): 600} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), bytes.Repeat([]byte{'x'}, n), 0o600))
	}
	return root
}

func tarOf(ctx context.Context, t *testing.T, w io.Writer, made []byte, root string) error {
	t.Helper()
	dir, err := os.Open(root)
	require.NoError(t, err)
	defer dir.Close()
	view := diff.DirView(dir)
	defer view.Close()
	return recipe.Tar(ctx, w, bytes.NewReader(made), view)
}

func recipeOf(t *testing.T, tar []byte) []byte {
	t.Helper()
	var made bytes.Buffer
	require.NoError(t, recipe.Write(&made, bytes.NewReader(tar)))
	return made.Bytes()
}

func TestATarIsWrittenAgainByteForByte(t *testing.T) {
	root := tree(t)
	for _, pad := range []int{0, 512, 1 << 20, 3<<20 + 7} {
		tar := written(t, pad)
		var again bytes.Buffer
		require.NoError(t, tarOf(t.Context(), t, &again, recipeOf(t, tar), root))
		require.True(t, bytes.Equal(tar, again.Bytes()), "with %d bytes of padding", pad)
	}
}

func TestATreeThatDiffersIsTold(t *testing.T) {
	made := recipeOf(t, written(t, 0))
	for name, change := range map[string]func(root string) error{
		"another byte":      func(root string) error { return os.WriteFile(root+"/usr/top", []byte("xxy"), 0o600) },
		"a byte more":       func(root string) error { return os.WriteFile(root+"/usr/top", []byte("xxxx"), 0o600) },
		"a file is missing": func(root string) error { return os.Remove(root + "/usr/lib/plain") },
		"a link in its place": func(root string) error {
			return errors.Join(os.Remove(root+"/usr/lib/plain"), os.Symlink("through", root+"/usr/lib/plain"))
		},
		"no directory": func(root string) error {
			return errors.Join(os.Remove(root+"/lib"), os.WriteFile(root+"/lib", nil, 0o600))
		},
		"a loop": func(root string) error { return errors.Join(os.Remove(root+"/lib"), os.Symlink("lib", root+"/lib")) },
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t)
			require.NoError(t, change(root))
			require.ErrorIs(t, tarOf(t.Context(), t, io.Discard, made, root), recipe.ErrDiffers)
		})
	}
}

func TestADamagedRecipeIsToldAndTakesNoMemory(t *testing.T) {
	root, made := tree(t), recipeOf(t, written(t, 0))
	for name, raw := range map[string][]byte{
		"cut":        made[:len(made)-20],
		"no json":    append([]byte("{\n"), made...),
		"a long one": append(bytes.Repeat([]byte{' '}, 9<<20), '\n'),
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, tarOf(t.Context(), t, io.Discard, raw, root), recipe.ErrDiffers)
		})
	}
}

var errSink = errors.New("the sink is full")

// fullSink takes some bytes and then no more.
type fullSink struct{ room int }

func (s *fullSink) Write(p []byte) (int, error) {
	if s.room -= len(p); s.room < 0 {
		return 0, errSink
	}
	return len(p), nil
}

func TestErrorsOfWritingAreNotTakenForDamage(t *testing.T) {
	root, tar := tree(t), written(t, 0)
	made := recipeOf(t, tar)
	for room := 0; room < len(tar); room += 300 {
		err := tarOf(t.Context(), t, &fullSink{room}, made, root)
		require.ErrorIs(t, err, errSink)
		require.NotErrorIs(t, err, recipe.ErrDiffers)
	}
	require.ErrorIs(t, recipe.Write(&fullSink{10}, bytes.NewReader(tar)), errSink)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := tarOf(ctx, t, io.Discard, made, root)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, recipe.ErrDiffers)
}

func TestATarThatEndsInTheMiddleHasNoRecipe(t *testing.T) {
	tar := written(t, 0)
	require.Error(t, recipe.Write(io.Discard, bytes.NewReader(tar[:1100])))
	broken := io.MultiReader(bytes.NewReader(tar[:2000]), errReader{})
	require.ErrorIs(t, recipe.Write(io.Discard, broken), errSink)
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errSink }

func TestHeadersWithoutEndHaveNoRecipe(t *testing.T) {
	var tar bytes.Buffer
	for range 7 { // each takes the place of the one before
		w := stdtar.NewWriter(&tar)
		require.NoError(t, w.WriteHeader(&stdtar.Header{Name: strings.Repeat("n", 1000<<10), Typeflag: stdtar.TypeReg, Format: stdtar.FormatGNU}))
		tar.Truncate(tar.Len() - 512) // only the long name
	}
	w := stdtar.NewWriter(&tar)
	require.NoError(t, w.WriteHeader(&stdtar.Header{Name: "f", Typeflag: stdtar.TypeReg}))
	require.NoError(t, w.Close())
	require.ErrorIs(t, recipe.Write(io.Discard, &tar), recipe.ErrTooLong)
}
