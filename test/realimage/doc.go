// Package realimage tests snapctl with a real distribution and the programs
// that people use beside it: a Debian root file system made with debootstrap,
// layered with umoci, converted with skopeo, run with runc.
//
// It holds tests only. They need root and those programs, and say what is
// missing when they are skipped. The root file system is kept as a tar archive
// in $LAYERKEEP_TEST_CACHE, by default /var/cache/layerkeep-test, and made anew
// with the machine's own apt sources when it is not there.
package realimage
