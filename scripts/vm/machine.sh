# The emulated machine: starts it, watches how far it comes, and ends it.
# shellcheck shell=sh

run_machine() {
	console=$scratch/console.log live=$scratch/live.log
	[ -z "$out" ] || mkdir -p "$out" || fail 2 "cannot make $out"
	[ -z "$out" ] || live=$out/live.log
	: >"$live"
	tries=3
	boot_machine
	while died_booting && [ $((tries -= 1)) -gt 0 ]; do
		tail -n 20 "$console" | tr -d '\r' | sed 's/^/console: /' >&2
		say "the kernel died before the programs started; once more"
		boot_machine
	done
	tr -d '\r' <"$console" >"$scratch/console.txt"
	[ -z "$out" ] || cp "$scratch/console.txt" "$out/console.log"
}

boot_machine() {
	: >"$console"
	start_machine
	follow
	watch_machine
}

# died_booting tells whether the machine ended by itself before any program ran. Under
# emulation a kernel sometimes does, as it patches its own code while another processor
# runs there ("Oops: int3"): that says nothing of the programs, and a second boot helps.
died_booting() { [ -z "$over$up" ] && ! grep -aq '^VM-\(UP\|BROKEN\) ' "$console"; }

# start_machine starts qemu as a direct child, which ends when this script is
# killed. mitigations=off and expedited RCU save much time under emulation.
start_machine() {
	append="${VM_APPEND-} console=ttyS0 quiet loglevel=3 panic=1 random.trust_cpu=on mitigations=off nokaslr no_timer_check"
	append="$append max_loop=64 loop.max_loop=64 log_buf_len=4M rcupdate.rcu_expedited=1"
	if [ -n "$shell" ]; then
		append="$append vmshell"
		set -- -chardev "stdio,id=tty,logfile=$console,signal=off" -serial chardev:tty
	else
		set -- -serial "file:$console"
	fi
	exec 5<&0
	setpriv --pdeathsig KILL -- qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max,la57=off -smp "$cpus" -m "$memory" \
		-nodefaults -display none -no-reboot "$@" -serial "file:$live" -device virtio-rng-pci \
		-drive "file=$scratch/root.img,if=virtio,format=raw,cache=unsafe,discard=unmap" \
		-drive "file=$scratch/out.img,if=virtio,format=raw,cache=unsafe" \
		-kernel "$image" -initrd "$scratch/initramfs.img" -append "$append" <&5 2>"$scratch/qemu.log" &
	vm=$!
	exec 5<&-
	started=$(date +%s)
}

# follow shows what the programs say where nothing else is to keep it.
follow() {
	[ -z "$out$shell" ] || return 0
	tail -n +1 -f --pid="$vm" "$live" 2>/dev/null 7>&- &
}

# announce_program says once which program runs, for whoever waits and sees no
# output of the programs.
announce_program() {
	latest=$(sed -n 's/\r$//; s/^VM-RUN //p' "$console" | tail -n 1)
	[ "$latest" = "$announced" ] || say "running $latest"
	announced=$latest
}

# watch_machine waits until the machine has ended or one of its times is over.
watch_machine() {
	up='' over='' announced=''
	while kill -0 "$vm" 2>/dev/null; do
		elapsed=$(($(date +%s) - started))
		if [ -z "$up" ] && grep -aq '^VM-UP' "$console"; then
			up=yes
			say "booted: $(sed -n 's/\r$//; s/^VM-UP //p' "$console")"
		fi
		[ -z "$out" ] || announce_program
		if [ -z "$up" ] && [ "$elapsed" -ge "$boot" ]; then
			over=boot
		elif [ "$elapsed" -ge "$timeout" ]; then
			over=timeout
		fi
		[ -z "$over" ] || break
		sleep 0.3 7>&-
	done
	[ -z "$over" ] || kill -KILL "$vm" 2>/dev/null || :
	wait "$vm" 2>/dev/null || :
	vm=''
}
