package robustness

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A deed is a command of a story, and the state of the store after it.
type deed struct {
	args   []string
	after  state
	events int // how many changes it makes in the store's directories
}

// A story is what is done to a store again and again, each time with processes that
// are killed elsewhere.
type story struct {
	store store
	files string
	deeds []deed
	image ociImage
	// sockets is a directory with a short path.
	sockets string
}

// tell makes the story and does it once without any kill, to know what is after each
// command and how much it does.
func tell(t *testing.T, dir, backend string, images [2]ociImage, layer string) *story {
	t.Helper()
	s := &story{store: store{snapctl(t), filepath.Join(dir, "told"), backend}, files: filepath.Join(dir, "told-files"), image: images[0], sockets: fstest.ShortDir(t)}
	s.makeDirectories(t)
	for _, args := range [][]string{
		{"ls"},
		{"import", "--name", images[0].name, "oci:" + images[0].layout},
		{"prepare", "work", images[0].name},
		{"apply", "work", layer},
		{"commit", "layer", "work"},
		{"prepare", "other", "layer"},
		{"import", "--name", images[1].name, "oci:" + images[1].layout},
		{"export", images[0].name, "export.tar"},
		{"diff", "-o", "export.tar", "layer"},
		{"commit", "top", "other"},
		{"rm", "top"},
		{"rmi", images[1].name},
		{"rm", "layer"},
		{"rmi", images[0].name},
		{"gc"},
	} {
		d := deed{args: args}
		e, err := watch(s.store.root)
		require.NoError(t, err)
		done := make(chan struct{})
		go func() { defer close(done); e.count(func(n int) { d.events = n }) }()
		_, err = s.store.try(s.placed(args)...)
		require.NoError(t, err)
		require.NoError(t, e.Close())
		<-done
		d.after = s.state(t)
		s.deeds = append(s.deeds, d)
	}
	return s
}

func (s *story) makeDirectories(t *testing.T) {
	t.Helper()
	require.NoError(t, os.Mkdir(s.store.root, 0o700))
	require.NoError(t, os.Mkdir(s.files, 0o700))
}

// placed returns a command with the paths of files that are written.
func (s *story) placed(args []string) []string {
	args = append([]string{}, args...)
	for i, a := range args {
		if a == "export.tar" {
			args[i] = filepath.Join(s.files, a)
		}
	}
	return args
}

// state asks for what the store holds.
func (s *story) state(t *testing.T) state {
	t.Helper()
	found, findings := s.checker(t).look()
	require.Empty(t, findings)
	return found
}

func (s *story) checker(t *testing.T) *checker {
	return &checker{
		store: s.store, t: t, sockets: s.sockets, files: s.files,
		layers: filepath.Join(s.store.root, s.store.driver), image: s.image,
	}
}
