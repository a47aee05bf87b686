# The root file system of the emulated machine, an ext4 on a sparse disk, and
# the initramfs that finds it. The root holds busybox, programs that tests call,
# kernel modules and, in /w, what is to run.
# shellcheck shell=sh

# What the tests call, where this machine has it.  busybox' own mount
# cannot do all that mount(8) can, so sh is the one of this machine: that of busybox
# prefers its own programs.
carried='sh mkfs.ext4 mkfs.xfs mkfs.btrfs btrfs mount umount losetup setpriv unshare nsenter cp getfattr setfattr tune2fs debugfs'

boot_modules='virtio_pci virtio_blk virtio_rng ext4 crc32c_generic libcrc32c'
later_modules='loop overlay xfs btrfs fuse erofs squashfs dm_mod dm_thin_pool'

make_root() {
	root=$scratch/root initramfs=$scratch/initramfs
	for d in bin sbin etc proc sys dev tmp run w/out root usr/bin usr/sbin var/tmp modules; do mkdir -p "$root/$d"; done
	mkdir -p "$initramfs/bin" "$initramfs/modules" "$initramfs/proc" "$initramfs/dev" "$initramfs/new"
	chmod 1777 "$root/tmp" "$root/var/tmp"
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$(command -v busybox)" "$initramfs/bin/busybox"
	cp "$lib/init-root" "$root/init"
	cp "$lib/init-boot" "$initramfs/init"
	chmod 755 "$root/init" "$initramfs/init"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	ln -s /proc/self/mounts "$root/etc/mtab"
	add_programs
	add_modules "$initramfs/modules" "$boot_modules"
	# shellcheck disable=SC2086 # two lists
	add_modules "$root/modules" "$later_modules $modules"
	add_work
	make_images
}

add_programs() {
	for p in $carried; do
		! command -v "$p" >/dev/null 2>&1 || carry "$p"
	done
	for p in $with; do
		command -v "$p" >/dev/null 2>&1 || fail 2 "no program $p for --with"
		carry "$p"
	done
}

carry() { # carry PROGRAM: copies it with its libraries
	path=$(command -v "$1")
	mkdir -p "$root$(dirname "$path")"
	cp -L "$path" "$root$path"
	for library in $(ldd "$path" 2>/dev/null | grep -o '/[^ ]*'); do
		[ ! -e "$root$library" ] || continue
		mkdir -p "$root$(dirname "$library")"
		cp -L "$library" "$root$library"
	done
}

# add_modules DIRECTORY NAMES: copies modules and those that they need, unpacked,
# and lists them in the order of loading. A name that this kernel does not have
# is built in, or missing: then what needs it is skipped, or fails and says so.
add_modules() {
	: >"$1/list"
	[ -n "$modules_root" ] || return 0
	for m in $2; do
		modprobe -d "$modules_root" -S "$release" --show-depends "$m" 2>/dev/null | awk '$1 == "insmod" {print $2}'
	done | awk '!seen[$0]++' >"$scratch/wanted"
	while read -r file; do
		base=${file##*/}
		case $base in
		*.xz) base=${base%.xz} && xz -dc "$file" >"$1/$base" ;;
		*.zst)
			command -v zstd >/dev/null 2>&1 || fail 7 "the modules of $release are packed with zstd, which is missing; install: zstd"
			base=${base%.zst} && zstd -qdc "$file" >"$1/$base"
			;;
		*) cp "$file" "$1/$base" ;;
		esac
		echo "$base" >>"$1/list"
	done <"$scratch/wanted"
}

# add_work copies the programs and files to /w and writes the list of runs there:
# a name, the program and its arguments.
add_work() {
	work=$root/w
	: >"$work/run.list"
	n=0
	printf '%s' "$programs" >"$scratch/programs"
	while read -r item; do
		program=${item%%,*} arguments=''
		[ "$program" = "$item" ] || arguments=$(printf '%s' "${item#*,}" | tr , ' ')
		base=${program##*/}
		case $base in *.test) [ -n "$arguments" ] || arguments='-test.v -test.timeout=60m' ;; esac
		cp -L "$program" "$work/$base"
		chmod 755 "$work/$base"
		n=$((n + 1))
		printf '%s %s %s\n' "$n-$base" "$base" "$arguments" >>"$work/run.list"
	done <"$scratch/programs"
	printf '%s' "$add" >"$scratch/added"
	while read -r file; do cp -L "$file" "$work/"; done <"$scratch/added"
	printf '%s' "$parameters" >"$work/parameters"
	echo "$limit" >"$work/limit"
}

# make_images names the features of ext4, since newer mkfs programs switch on
# some that older kernels do not have.
make_images() {
	truncate -s "${disk}G" "$scratch/root.img"
	await mkfs.ext4 -q -F -d "$root" -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 \
		-O none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
		"$scratch/root.img" >"$scratch/mkfs.log" 2>&1 || fail 3 "the disk image cannot be made: $(tail -n 1 "$scratch/mkfs.log")"
	truncate -s 256M "$scratch/out.img"
	(cd "$initramfs" && find . | cpio -o -H newc --quiet) >"$scratch/initramfs.img"
	rm -rf "$root" "$initramfs"
}
