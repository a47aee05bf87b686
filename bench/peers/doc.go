// Package peers does the same work with this module and with the libraries that
// others use, side by side in one run, and prints how they compare. It is a
// module of its own so that the product does not depend on them.
//
//	go test -run '^$' -bench . -timeout 30m
//
// Every round of a benchmark runs each contender once, in turn, so that noise
// of the machine meets all of them alike. Reported are each contender's median
// time in milliseconds, and how many times longer than ours it took ("x-NAME").
package peers
