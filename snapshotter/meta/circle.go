package meta

// A Circle finds out that a way from child to parent goes in a circle, which
// only a damaged database can make it do, within some three times around it and
// without remembering the way. It is Brent's algorithm. The zero value is for a
// new way.
type Circle struct {
	mark         string
	steps, until int
}

// Closed takes the next name of the way and reports whether it was there
// before.
func (c *Circle) Closed(name string) bool {
	if c.until > 0 && name == c.mark {
		return true
	}
	if c.steps++; c.steps > c.until {
		c.mark, c.steps, c.until = name, 0, max(2*c.until, 1)
	}
	return false
}
