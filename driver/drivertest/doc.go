// Package drivertest is the conformance suite of the driver contract, with the
// benchmarks beside it. A backend's own test file is all it takes:
//
//	var config = drivertest.Config{New: overlay2.New}
//
//	func TestConformance(t *testing.T)     { drivertest.RunMatrix(t, config) }
//	func TestInAUserNamespace(t *testing.T) { drivertest.RunUnprivileged(t, config) }
//	func BenchmarkDriver(b *testing.B)     { drivertest.Benchmark(b, config) }
//
// The suite asks a driver for its properties, never for its name. Every subtest
// opens a store in a fresh directory. What a layer means comes from the table
// in package semantics and the reference in package model; both are checked
// through the driver's View and, where mounting works, through real mounts.
package drivertest
