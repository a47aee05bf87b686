# Builds one package's test binary, runs it without privileges, and prints its events.
# The variables are those of scripts/test, which starts it.
# shellcheck shell=sh
# shellcheck disable=SC2154 # set by scripts/test
#
# usage: unprivileged.sh 'NUMBER PACKAGE DIRECTORY'
set -u
n=${1%% *} rest=${1#* }
pkg=${rest%% *} dir=$scratch/tree${rest#*"$PWD"}
events=$scratch/events.$n

if ! go test -c -o "$scratch/bin/$n.test" "$pkg" </dev/null >"$events" 2>&1; then
	# A line that is no event counts as a failure.
	echo "$pkg does not build" >>"$events"
else
	# The watcher, which is root, gives the tests their TMPDIR.
	# shellcheck disable=SC2086 # the command may be several words
	(cd "$dir" && $test2json -t -p "$pkg" \
		env -i HOME="$home" PATH="$PATH" USER="$user" LANG=C.UTF-8 \
		GOROOT="$GOROOT" GOCACHE="$home/cache" GOFLAGS=-mod=readonly \
		LAYERKEEP_TEST_RUN="${LAYERKEEP_TEST_RUN-}" LAYERKEEP_TEST_LEADER="${LAYERKEEP_TEST_LEADER-}" \
		"$scratch/testrun" watch -- \
		setpriv --reuid "$uid" --regid "$gid" --clear-groups --inh-caps=-all --pdeathsig KILL \
		"$scratch/bin/$n.test" -test.v=test2json -test.count="$count" ${short:+-test.short} </dev/null) >"$events" 2>&1
fi
rm -f "$scratch/bin/$n.test"
# Events of two packages are not mixed within a line.
flock "$scratch/printing" cat "$events"
rm -f "$events"
