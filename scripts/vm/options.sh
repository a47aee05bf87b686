# What the command line asks for. Programs and files are separated by newlines.
# shellcheck shell=sh

suite=bookworm kernel=linux-image-cloud-amd64 aufs='' own_image=''
modules='' parameters='' with='' add='' programs='' claimed=''
memory=3072 disk=8 cpus='' boot=300 limit=0 timeout=3600 out='' shell=''

newline='
'

read_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--help | -h)
			usage
			exit 0
			;;
		--shell) shell=yes && shift && continue ;;
		-*) [ $# -gt 1 ] || fail 2 "$1 needs a value, or is unknown; see --help" ;;
		*) break ;;
		esac
		read_option "$1" "$2"
		shift 2
	done
	for program; do
		is_program "$program"
		programs=$programs$program$newline
	done
	[ -n "$programs$shell" ] || fail 2 "no program to run; see --help"
	if [ -z "$cpus" ]; then
		cpus=$(nproc)
		[ "$cpus" -le 4 ] || cpus=4
	fi
}

read_option() { # read_option OPTION VALUE
	case $1 in
	--suite) is_name "$1" "$2" && suite=$2 ;;
	--kernel) is_name "$1" "$2" && kernel=$2 ;;
	--aufs) aufs=$(cd "$2" 2>/dev/null && pwd) || fail 2 "no directory $2" ;;
	--image) is_file "$2" && own_image=$2 ;;
	--module) modules="$modules $2" ;;
	--parameter)
		case $2 in
		?*.?*=*) parameters=$parameters$2$newline ;;
		*) fail 2 "--parameter $2: not of the form MODULE.NAME=VALUE" ;;
		esac
		;;
	--with) with="$with $2" ;;
	--add) is_file "$2" && claim "$2" && add=$add$2$newline ;;
	--memory) is_number "$1" "$2" && memory=$2 ;;
	--disk) is_number "$1" "$2" && disk=$2 ;;
	--cpus) is_number "$1" "$2" && cpus=$2 ;;
	--boot) is_number "$1" "$2" && boot=$2 ;;
	--limit) is_number "$1" "$2" && limit=$2 ;;
	--timeout) is_number "$1" "$2" && timeout=$2 ;;
	--out) out=$2 ;;
	*) fail 2 "unknown option $1; see --help" ;;
	esac
}

is_number() { # is_number OPTION VALUE
	case $2 in
	'' | 0* | *[!0-9]*) fail 2 "$1 $2: not a number above 0" ;;
	esac
}

# is_name OPTION VALUE: the value becomes a part of paths in the cache.
is_name() {
	case $2 in
	'' | [!A-Za-z0-9]* | *[!A-Za-z0-9.+-]*) fail 2 "$1 $2: not a name of letters, digits and . + -" ;;
	esac
}

# is_program ITEM: checks PROGRAM[,ARGUMENT...]. The emulated machine splits the
# list of runs at blanks.
is_program() {
	[ -f "${1%%,*}" ] || fail 2 "no program ${1%%,*}"
	file=${1%%,*}
	case ${file##*/}${1#"$file"} in
	*[[:space:]]*) fail 2 "program $(one_line "$1"): its name and its arguments must have no blanks" ;;
	esac
	claim "$file"
}

# claim FILE: takes the name in /w that FILE will have there.
claim() {
	base=${1##*/}
	case $1 in
	*"$newline"*) fail 2 "file $(one_line "$1"): its path must be one line" ;;
	esac
	case $base in
	run.list | limit | parameters | out) fail 2 "file $1: the emulated machine has a file $base of its own" ;;
	esac
	case $newline$claimed in
	*"$newline$base=$1$newline"*) return 0 ;;
	*"$newline$base="*) fail 2 "file $1: another file is named $base too" ;;
	esac
	claimed=$claimed$base=$1$newline
}

one_line() { printf '%s' "$1" | tr '\n' ' '; }

is_file() { [ -f "$1" ] || fail 2 "no file $1"; }
