package bench

// Suites returns every suite with all of its cases.
func Suites() []Suite {
	return []Suite{copyUpSuite(), inodeSuite(), readSuite(), lifeCycleSuite(), workloadSuite()}
}
