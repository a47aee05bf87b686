# The kernel: its image, its release and where its modules are.
# shellcheck shell=sh

image='' release='' modules_root=''

get_kernel() {
	if [ -n "$own_image" ]; then
		image=$own_image release=$(basename "$own_image")
	elif [ -n "$aufs" ]; then
		aufs_kernel
	else
		with_lock "suite-$suite" debian_kernel
	fi
	say "kernel $release"
}

# debian_kernel unpacks the package, and the packages that hold its image and
# its modules where newer releases have them apart.
debian_kernel() {
	open_suite
	find_versioned
	tree=$cache/kernels/$kernel
	if [ ! -e "$tree/done" ]; then
		rm -rf "$tree"
		mkdir -p "$tree"
		for package in "$kernel" $(dependencies "$kernel" '^linux-(binary|modules)-[0-9]'); do
			fetch "$package"
			await dpkg-deb -x "$deb" "$tree" || fail 3 "${deb##*/} cannot be unpacked"
			rm -f "$deb"
		done
		index_modules
		touch "$tree/done"
	fi
	image=$(find "$tree" -name 'vmlinuz*' -type f | head -n 1)
	[ -n "$image" ] || fail 3 "package $kernel holds no kernel image"
	case $image in
	*/vmlinuz-*) release=${image##*/vmlinuz-} ;;
	*) release=${image%/vmlinuz} release=${release##*/} ;; # newer packages have it beside the modules
	esac
	modules_root=$tree
	[ -d "$tree/lib/modules/$release" ] || modules_root=$tree/usr
}

# find_versioned follows a package that only names the newest kernel. The answer
# is kept until the lists are read anew, since apt takes seconds for it.
find_versioned() {
	answer=$apt_dir/newest-$kernel
	if [ "$answer" -nt "$apt_dir/fresh" ]; then
		kernel=$(cat "$answer")
		return 0
	fi
	[ -n "$(in_suite apt-cache show "$kernel" 2>/dev/null | head -n 1)" ] || fail 7 "$suite has no package $kernel"
	while :; do
		named=$(dependencies "$kernel" '^linux-image-[0-9]' | head -n 1)
		[ -n "$named" ] || break
		kernel=$named
	done
	echo "$kernel" >"$answer"
}

index_modules() {
	for m in "$tree"/lib/modules/* "$tree"/usr/lib/modules/*; do
		[ ! -d "$m" ] || await depmod -b "${m%/lib/modules/*}" "${m##*/}" 2>/dev/null || fail 3 "the modules of $kernel cannot be listed"
	done
}

# aufs_kernel builds linux-source-X.Y with aufs, which Debian's own kernels do
# not have, nor the exports that a module of it would need. vm/kernel.config is
# small on purpose and has everything built in.
aufs_kernel() {
	version=$(sed -n 's/.*"\([0-9]*\.[0-9]*\)[^"]*"$/\1/p' "$aufs/include/uapi/linux/aufs_type.h" 2>/dev/null | head -n 1)
	[ -n "$version" ] || fail 2 "$aufs is no checkout of aufs-standalone: no version in include/uapi/linux/aufs_type.h"
	with_lock "suite-$suite" aufs_source
	name=${deb##*/}
	name=${name%.deb}-aufs
	tree=$cache/kernels/$name
	with_lock "kernel-$name" build_aufs
	image=$tree/bzImage
	release=$(tail -n 1 "$tree/release")
}

aufs_source() {
	open_suite
	find_package "linux-source-$version"
}

build_aufs() {
	key=$(cat "$lib/kernel.config" "$aufs"/*.patch "$aufs/include/uapi/linux/aufs_type.h" | sha256sum | cut -c1-16)
	[ "$(cat "$tree/done" 2>/dev/null)" != "$key" ] || return 0
	fetch "linux-source-$version"
	rm -rf "$tree"
	mkdir -p "$tree"
	say "building $name, which takes some ten minutes"
	await sh "$lib/build-aufs" "$deb" "$version" "$aufs" "$tree" >"$scratch/build.log" 2>&1 || {
		tail -n 40 "$scratch/build.log" >&2
		rm -rf "$tree"
		fail 3 'the kernel with aufs cannot be built'
	}
	rm -f "$deb"
	echo "$key" >"$tree/done"
}
