# What this machine must have. Whatever is missing is said in one line, with
# exit status 7, before anything is made.
# shellcheck shell=sh

need() { # need PROGRAM PACKAGE: notes a program that is missing
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

check_host() {
	[ "$(id -u)" = 0 ] || fail 7 'not root'
	[ "$(uname -m)" = x86_64 ] || fail 7 "this machine is $(uname -m), only x86_64 is emulated"
	check_programs
	check_memory
	check_disk
}

check_programs() {
	missing=''
	need qemu-system-x86_64 'qemu-system-x86 seabios'
	need cpio cpio
	need depmod kmod
	need mkfs.ext4 e2fsprogs
	need setpriv util-linux
	need flock util-linux
	is_static busybox || missing="$missing busybox-static"
	if [ -z "$own_image" ]; then
		need apt-get apt
		need dpkg-deb dpkg
		need xz xz-utils
	fi
	if [ -n "$aufs" ]; then
		for p in gcc make bc flex bison patch; do need $p $p; done
		[ -e /usr/include/libelf.h ] || missing="$missing libelf-dev"
	fi
	[ -z "$missing" ] || fail 7 "missing programs; install:$missing"
}

is_static() { # is_static PROGRAM
	path=$(command -v "$1" 2>/dev/null) && ! ldd "$path" 2>/dev/null | grep -q '=>'
}

check_memory() {
	available=$(($(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo) >> 10))
	[ "$available" -ge $((memory + 256)) ] ||
		fail 7 "not enough memory: $available MiB are free, $((memory + 256)) needed (see --memory)"
}

# check_disk asks for the room that the disk may take, and for a kernel's.
check_disk() {
	wanted=$((disk + 1))
	[ -z "$aufs" ] || wanted=$((wanted + 4))
	mkdir -p "$cache" 2>/dev/null || fail 7 "cannot make $cache"
	free=$(($(df -Pk "$cache" | awk 'NR == 2 {print $4}') >> 20))
	[ "$free" -ge "$wanted" ] || fail 7 "not enough disk: $free GiB are free in $cache, $wanted needed (see --disk)"
}
