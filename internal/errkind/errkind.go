// Package errkind gives errors kinds without changing their texts: an error
// says what went wrong to a person by its text, and to a program by what
// [errors.Is] finds.
package errkind

// As returns an error with the text of err that matches err and kinds. It
// returns nil for nil.
func As(err error, kinds ...error) error {
	if err == nil {
		return nil
	}
	return &kinded{err, append([]error{err}, kinds...)}
}

// Only returns an error with the text of err that matches kinds and nothing
// that err matches: that a layer is not found does not mean, for instance, that
// the snapshot is not. It returns nil for nil.
func Only(err error, kinds ...error) error {
	if err == nil {
		return nil
	}
	return &kinded{err, kinds}
}

// kinded is an error with a text, and what it matches.
type kinded struct {
	text    error
	matches []error
}

func (k *kinded) Error() string   { return k.text.Error() }
func (k *kinded) Unwrap() []error { return k.matches }
