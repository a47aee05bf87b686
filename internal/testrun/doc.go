// Package testrun keeps what a run of the tests makes on a machine together, so
// that nothing of it stays: not after a passing run, not after one that was
// killed. It is for tests only.
//
// A run has a directory, $TMPDIR/lktUID/ID, in which its leader holds a lock.
// All temporary directories of the run are below it, and so are mount points
// and the images of loop devices; /dev/shm/lktUID/ID is its part in memory,
// with a lock of its own. The locks are free once the leader is dead, however
// it died, and after a restart of the machine. Every run begins with a [Sweep]:
// it takes the locks that are free and removes what the dead runs have left.
// Nothing else is ever touched.
//
// The leader is the command scripts/testrun, which runs scripts/test. It starts
// every test binary through a watcher, see [Watch]: one directory for each test
// binary, a limit for hanging, and an end for all processes that it has left. A
// test binary that somebody runs without them makes a run of its own for
// scratch file systems, see [Local].
//
//	testrun run -- scripts/test ./...        # leads a run
//	go test -exec 'testrun watch --' ./...   # in there
package testrun

// The environment of the processes of a run.
const (
	// RunEnv is the directory of the run. The name of it is random, so a process
	// that has it is one of that run.
	RunEnv = "LAYERKEEP_TEST_RUN"
	// leaderEnv is the process id of the leader.
	leaderEnv = "LAYERKEEP_TEST_LEADER"
	// MemoryEnv is the directory in memory of one test binary.
	MemoryEnv = "LAYERKEEP_TEST_MEMORY"
)
