package diff

// Unhinted returns the view without what a backend knows about it as a
// [Hinter], [Linker] or [BodyMatcher]. That knowledge is valid only against the
// layer's own parents. Use Unhinted to compare the view with any other tree.
func Unhinted(v View) View { return unhinted{v} }

type unhinted struct{ View }

func (v unhinted) Root() (Dir, error) { return bareDir(v.View.Root()) }

// unhintedDir has the methods of a Dir and no others.
type unhintedDir struct{ Dir }

func (d unhintedDir) OpenDir(name string) (Dir, error) { return bareDir(d.Dir.OpenDir(name)) }

func bareDir(d Dir, err error) (Dir, error) {
	if err != nil {
		return nil, err
	}
	return unhintedDir{d}, nil
}
