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
	// harm damages the store before, if it is not nil.
	harm func(s store) error
	// damaged is what can be read of it then.
	damaged state
	// alone: it cannot go through a service.
	alone bool
}

// harmed returns a harm of the layer of a snapshot.
func harmed(key string, do func(store, hurt) error) func(store) error {
	return func(s store) error {
		layer, err := s.layerOf(key)
		if err != nil {
			return err
		}
		return do(s, hurt{layer: layer, random: randomFor(1, key)})
	}
}

// A story is what is done to a store again and again, each time with processes
// that are killed elsewhere.
type story struct {
	store  store
	files  string
	deeds  []deed
	images [2]ociImage
	// sockets is a directory with a short path.
	sockets string
}

// tell makes the story and does it once without any kill, to know what is after
// each command and how much it does.
func tell(t *testing.T, dir, backend string, images [2]ociImage, layer string) *story {
	t.Helper()
	s := &story{store: store{snapctl(t), filepath.Join(dir, "told"), backend}, files: filepath.Join(dir, "told-files"), images: images, sockets: fstest.ShortDir(t)}
	s.makeDirectories(t)
	imports := []string{"import", "--name", images[0].name, "oci:" + images[0].layout}
	for _, d := range []deed{
		{args: []string{"ls"}},
		{args: imports},
		{args: []string{"prepare", "work", images[0].name}},
		{args: []string{"apply", "work", layer}},
		{args: []string{"commit", "layer", "work"}},
		{args: []string{"prepare", "other", "layer"}},
		{args: []string{"import", "--name", images[1].name, "oci:" + images[1].layout}},
		{args: []string{"export", images[0].name, "export.tar"}},
		{args: []string{"diff", "-o", "export.tar", "layer"}},
		{args: []string{"commit", "top", "other"}},
		{args: readAndRepair, harm: harmed(images[0].chain[1], removeFile), alone: true},
		{args: imports, harm: harmed(images[0].chain[0], removeLayer)},
		{args: onlyRepair, harm: harmed(images[0].chain[0], renameInRecord), alone: true},
		{args: rebuild, harm: func(s store) error { return zeroDatabase(s, hurt{}) }, alone: true},
		{args: []string{"rm", "top"}},
		{args: []string{"rmi", images[1].name}},
		{args: []string{"rm", "layer"}},
		{args: []string{"rmi", images[0].name}},
		{args: []string{"gc"}},
	} {
		if d.harm != nil {
			require.NoError(t, d.harm(s.store))
			d.damaged = s.damaged(t, s.deeds[len(s.deeds)-1].after)
		}
		e, err := watch(s.store.root)
		require.NoError(t, err)
		done := make(chan struct{})
		go func() { defer close(done); e.count(func(n int) { d.events = n }) }()
		_, err = s.store.try(s.placed(d.args)...)
		require.NoError(t, err)
		require.NoError(t, e.Close())
		<-done
		d.after = s.state(t)
		s.deeds = append(s.deeds, d)
	}
	return s
}

// damaged asks for what can be read of a store that was damaged; otherwise is
// what a store holds that cannot be opened.
func (s *story) damaged(t *testing.T, otherwise state) state {
	t.Helper()
	c := s.checker(t)
	c.harmed = true
	found, findings := c.look()
	if len(findings) == 0 {
		return found
	}
	return otherwise
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
		images: s.images,
	}
}
