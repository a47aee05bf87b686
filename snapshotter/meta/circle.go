package meta

// A Circle finds a circle in a path from child to parent, which only a damaged
// database has. It uses Brent's algorithm: it finds the circle after about
// three times its length, and does not store the path. The zero value is ready
// for a new path.
type Circle struct {
	mark         string
	steps, until int
}

// Closed takes the next name of the path, and reports whether the path has come
// back to a name.
func (c *Circle) Closed(name string) bool {
	if c.until > 0 && name == c.mark {
		return true
	}
	if c.steps++; c.steps > c.until {
		c.mark, c.steps, c.until = name, 0, max(2*c.until, 1)
	}
	return false
}
