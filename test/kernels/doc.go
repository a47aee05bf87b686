// Package kernels runs the tests of other packages, and snapctl, on other Linux
// kernels than this machine's, in emulated machines that scripts/test-vm boots.
// It has tests only.
//
// go test runs a short part on the kernels of three Debian releases. The flag
// -full takes all of them and this machine's, all suites, several file systems
// and kernels whose defaults a distribution has changed; with -update it writes
// what came of it into docs/kernels.md ("make test-kernels"). The flag -aufs
// DIR runs the suite of aufs on a kernel that has it ("make test-aufs").
//
// What a guest said is turned into subtests, so a test that was skipped in an
// emulated machine is listed with its reason like any other.
package kernels
