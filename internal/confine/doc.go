// Package confine runs work on what strangers have made, such as the entries of a layer, on
// threads of this process that can do little else: change files below the given directories
// only, read below others, and not mount, connect, or run programs that gain rights. That
// is a second wall: the work is written so that nothing leads out of these directories, and
// what it does wrong all the same meets the kernel.
//
// The kernel's means are Landlock (Linux 5.19 or later with it switched on; without it there
// are no limits on files), capabilities and no_new_privs. All three belong to a thread. So
// the work gets goroutines with threads of their own, which end with it, and what belongs to
// the caller, such as its writer, is called where the caller is, see [Outside].
package confine
