# Makes a script that runs tests a run of package internal/testrun, which leaves
# nothing. Sourced at the root of the repository.
# shellcheck shell=sh

# become_run BUSY SCRIPT [ARGUMENT...]: its first call builds testrun and starts the
# script again as a run, with BUSY threads computing beside it. In the run it sets
# scratch to a directory with the programs testrun and testreport, which goes in the end.
become_run() {
	busy_threads=$1
	shift
	if [ -z "${LAYERKEEP_TEST_RUNNER-}" ]; then
		if [ -n "${TMPDIR-}" ] && ! { [ -d "$TMPDIR" ] && [ -w "$TMPDIR" ]; }; then
			echo "$1: TMPDIR is $TMPDIR, which is no directory that can be written to" >&2
			exit 2
		fi
		build=$(mktemp -d)
		trap 'rm -rf "$build"' EXIT
		trap 'exit 130' INT TERM
		go build -o "$build/testrun" ./scripts/testrun
		LAYERKEEP_TEST_RUNNER=$build/testrun
		export LAYERKEEP_TEST_RUNNER
		exec "$build/testrun" run -busy "$busy_threads" -remove "$build" -- "$@"
	fi
	scratch=$(mktemp -d)
	trap 'rm -rf "$scratch"' EXIT
	trap 'exit 130' INT TERM
	chmod 755 "$scratch"
	mv "$LAYERKEEP_TEST_RUNNER" "$scratch/testrun"
	rmdir "$(dirname "$LAYERKEEP_TEST_RUNNER")"
	unset LAYERKEEP_TEST_RUNNER
	go build -o "$scratch/testreport" ./scripts/testreport
}
