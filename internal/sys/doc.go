// Package sys wraps the Linux system calls that write trees relative to
// directory descriptors.
//
// A function takes a single path component below an open directory, never
// follows a symbolic link in that component, sets CLOEXEC, retries on EINTR and
// returns *os.PathError or *os.LinkError. Only [OpenPlainBeneath] takes a path
// of several components and follows links in it.
package sys
