# The directory of this run, and the processes that it starts. Nothing of them
# is left when the script ends, whatever ends it.
# shellcheck shell=sh

cache=${LAYERKEEP_VM:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/layerkeep/vm}
scratch='' child='' vm=''

close_run() {
	trap '' HUP INT TERM PIPE # a second signal must not end this early
	[ -z "$child" ] || kill -TERM -- "-$child" 2>/dev/null || :
	[ -z "$vm" ] || kill -KILL "$vm" 2>/dev/null || :
	[ -z "$vm" ] || wait "$vm" 2>/dev/null || :
	[ -z "$scratch" ] || rm -rf "$scratch"
}

# open_run makes $scratch and removes the directories of runs that were killed.
# A run holds a lock on its directory as long as it lives, and so does its
# emulated machine, which inherits descriptor 7. The lock of runs/ keeps others
# from taking a directory for an abandoned one before it is locked.
open_run() {
	mkdir -p "$cache/runs" 2>/dev/null && [ -w "$cache/runs" ] || fail 7 "cannot write to $cache/runs"
	trap close_run EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 141' PIPE # who read our output is gone
	trap 'exit 143' TERM
	exec 8>"$cache/runs/lock"
	flock 8
	for old in "$cache"/runs/run.*; do
		[ -d "$old" ] || continue
		(flock -n 9 && rm -rf "$old") 9>"$old/lock" || :
	done
	scratch=$(mktemp -d "$cache/runs/run.XXXXXX")
	exec 7>"$scratch/lock"
	flock 7
	exec 8>&-
}

# await COMMAND...: runs a command that may take long, so that a signal for this
# script ends it and all that it has started. It ends too when this script is
# killed.
await() {
	setsid setpriv --pdeathsig TERM -- "$@" &
	child=$!
	result=0
	wait "$child" || result=$?
	child=''
	return "$result"
}

# with_lock NAME COMMAND...: runs a function of this script under a lock that all
# runs share. The lock lasts for the call: descriptor 9 is closed at its end.
with_lock() {
	mkdir -p "$cache/locks"
	exec 9>"$cache/locks/$1"
	await flock 9
	shift
	"$@"
	exec 9>&-
}
