// Package sys wraps the Linux system calls that write trees relative to
// directory descriptors.
//
// Every function names a single path component below an open directory, never
// follows a symbolic link in that component, sets CLOEXEC, retries on EINTR and
// returns *os.PathError or *os.LinkError. Resolving paths of several components
// is not its business.
package sys
