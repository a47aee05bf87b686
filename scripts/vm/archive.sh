# Packages of Debian's archives, through apt, with lists of our own: what apt
# of this machine knows stays as it is. apt verifies them as always.
# shellcheck shell=sh

# in_suite COMMAND ARGUMENT...: runs apt-get or apt-cache on the lists of $suite.
in_suite() {
	apt_command=$1
	shift
	await env -C "$scratch" "$apt_command" -q -o Dir::Etc::sourcelist="$apt_dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o APT::Sandbox::User=root -o Dir::State::lists="$apt_dir/lists" -o Dir::Cache="$apt_dir/cache" \
		-o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=60 "$@"
}

# open_suite brings the lists of $suite up to date, once a day. Older lists do
# where the archives cannot be reached, for the kernel may be in the cache.
open_suite() {
	apt_dir=$cache/apt/$suite
	mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial" "$cache/debs" "$cache/kernels"
	[ ! -e "$apt_dir/fresh" ] || [ -n "$(find "$apt_dir/fresh" -mmin +1440)" ] || return 0
	write_sources
	say "reading the lists of $suite"
	if in_suite apt-get update >"$scratch/apt.log" 2>&1; then
		touch "$apt_dir/fresh"
	elif [ -e "$apt_dir/fresh" ]; then
		say "no newer lists of $suite can be had; using those of $(date -r "$apt_dir/fresh" +%F)"
	else
		fail 7 "no lists of $suite in the archives: $(apt_error)"
	fi
}

# write_sources takes the archives that this machine's apt uses, so that mirrors
# and proxies are respected.
write_sources() {
	# shellcheck disable=SC2016 # apt's variable
	uris=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' | sort -u | grep -v -- '-debug') || : # those hold no kernels
	main=$(echo "$uris" | grep -v -- '-security' | head -n 1) || :
	security=$(echo "$uris" | grep -- '-security' | head -n 1) || :
	[ -n "$main" ] || fail 7 'apt knows no archive of Debian here (has "apt-get update" been run?)'
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e "$keys" ] || fail 7 "no $keys to verify packages with; install: debian-archive-keyring"
	{
		echo "deb [signed-by=$keys] $main $suite main"
		case $suite in
		sid | unstable | *-backports) ;;
		*) [ -z "$security" ] || echo "deb [signed-by=$keys] $security $suite-security main" ;;
		esac
	} >"$apt_dir/sources.list"
}

apt_error() { # the last error of apt, on one line
	grep '^E: ' "$scratch/apt.log" | head -n 1 | cut -c 4- | grep . || echo 'apt gives no reason'
}

# find_package PACKAGE: sets $deb to where its archive is, or will be, kept.
find_package() {
	in_suite apt-get download --print-uris "$1" >"$scratch/uris" 2>"$scratch/apt.log" || fail 7 "$suite has no package $1"
	deb=$cache/debs/$(awk 'NR == 1 {print $2}' "$scratch/uris")
}

# fetch PACKAGE: downloads it, unless it is here; sets $deb. The archive appears
# whole or not at all.
fetch() {
	find_package "$1"
	[ ! -e "$deb" ] || return 0
	say "fetching ${deb##*/}"
	in_suite apt-get download "$1" >"$scratch/apt.log" 2>&1 ||
		fail 7 "package $1 of $suite cannot be fetched: $(apt_error)"
	mv "$scratch/${deb##*/}" "$deb"
}

# dependencies PACKAGE PATTERN: prints those whose names match.
dependencies() {
	in_suite apt-cache depends --no-recommends --no-suggests "$1" 2>/dev/null |
		awk -v pattern="$2" '$1 == "Depends:" && $2 ~ pattern {print $2}'
}
