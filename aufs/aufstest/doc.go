// Package aufstest changes the branches of an aufs as the kernel module does,
// for tests: aufs is in no kernel of today by default, so what it leaves on
// disk is made here. An [Editor] is one mount with a writable branch.
//
// It is written from what the module (fs/aufs, 6.1) does, and shares no code
// with package aufs, which reads the result.
package aufstest
