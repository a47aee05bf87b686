package fstest

import "time"

// Patience is how long a test waits for what has to come before it says that
// this hangs. It decides nothing: a busy machine may take nearly as long. What
// a test wants to come within some time is another matter.
const Patience = 2 * time.Minute
