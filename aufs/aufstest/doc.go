// Package aufstest changes the branches of an aufs as the kernel module does,
// for tests: aufs is in no kernel of today by default, so what it leaves on
// disk is made here. An [Editor] is one mount with a writable branch.
//
// It is written from what the module (fs/aufs, 6.1) does, and shares no code
// with package aufs, which reads the result. What it does differently from a
// plain file system is in docs/aufs.md. Where the kernel has the module, the
// tests of package aufs make the same edits through it and expect the same.
package aufstest
