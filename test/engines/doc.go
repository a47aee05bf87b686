// Package engines tests the service with the engines that use it: containerd,
// buildkitd, dockerd and podman, as real processes with private directories.
//
// It holds tests only. They need root, the programs that
// scripts/install-test-deps installs and those that scripts/build-test-tools
// builds, and say what is missing when they are skipped. Nothing is fetched:
// the images are made here and come from a registry on the loopback address.
//
// What worked is recorded, by engine, version, backend and operation, and is
// the table in docs/engines.md. A full run fails when the table says something
// else; go test ./test/engines -update writes it anew.
package engines
