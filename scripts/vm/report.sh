# What came of it: the results of the programs, or why there are none.
# shellcheck shell=sh

report() {
	results=$scratch/results
	mkdir -p "$results"
	tar -xf "$scratch/out.img" -C "$results" 2>/dev/null || :
	[ -z "$out" ] || cp -R "$results/." "$out/"
	check_end
	status=0
	[ ! -s "$results/results" ] || while read -r name rc took; do
		report_program "$name" "$rc" "$took"
	done <"$results/results"
	report_complaints
	say 'done'
	exit "$status"
}

# check_end fails where the machine did not come to its end.
check_end() {
	if grep -aq '^VM-DONE' "$scratch/console.txt" && [ -e "$results/release" ]; then return 0; fi
	case $over in
	boot) why "the kernel $release did not start the programs within $boot s" 3 ;;
	timeout) why "$(running) had not ended after $timeout s" 4 ;;
	esac
	broken=$(sed -n 's/^VM-BROKEN //p' "$scratch/console.txt" | head -n 1)
	[ -z "$broken" ] || why "the machine is of no use: $broken" 3
	[ -n "$up" ] || grep -aq '^VM-UP' "$scratch/console.txt" || why "the kernel $release did not boot" 3
	why "the machine ended during $(running)" 3
}

# report_complaints fails the run where the kernel found a fault in itself, which a program
# may not notice. A lockup or a stall only says that this machine was busy.
report_complaints() {
	complaints=$scratch/complaints
	grep -ahv 'lockup' "$results/dmesg.log" "$scratch/console.txt" |
		grep -a 'BUG: \|BUG at \|Oops\|WARNING: .* at \|general protection fault' | sed 's/^\[[^]]*\] *//' | sort -u >"$complaints" || :
	[ -z "$out" ] || cp "$complaints" "$out/complaints"
	[ -s "$complaints" ] || return 0
	status=1
	echo '== the kernel complained:'
	head -n 5 "$complaints"
}

running() { sed -n 's/^VM-RUN [0-9]*-//p' "$scratch/console.txt" | tail -n 1 | grep . || echo 'the programs'; }

why() { # why MESSAGE STATUS: shows the last that was heard, and fails
	tail -n 20 "$scratch/console.txt" | sed 's/^/console: /' >&2
	[ ! -s "$scratch/qemu.log" ] || sed 's/^/qemu: /' "$scratch/qemu.log" >&2
	fail "$2" "$1"
}

report_program() { # report_program NAME STATUS SECONDS
	log=$results/$1.log
	printf '== %s: exit %s after %s s: ' "$1" "$2" "$3"
	if grep -aq '^ *--- \(PASS\|FAIL\|SKIP\)' "$log"; then
		printf '%s passed, %s failed, %s skipped\n' \
			"$(grep -ac '^ *--- PASS' "$log")" "$(grep -ac '^ *--- FAIL' "$log")" "$(grep -ac '^ *--- SKIP' "$log")"
	else
		tail -n 1 "$log"
	fi
	[ "$2" = 0 ] && return 0
	status=1
	grep -a '^ *--- FAIL\|^panic: ' "$log" | head -n 40 || :
}
