#!/bin/sh
# Usage: make.sh SNAPCTL NAME
#
# Makes NAME.tar.gz here, a small store as the snapctl SNAPCTL writes it, and prints what
# that says of it. SNAPCTL is built of an old commit, whose format is to be kept:
#
#	git worktree add /tmp/old COMMIT
#	cd /tmp/old && CGO_ENABLED=0 go build -o /tmp/snapctl-COMMIT ./cmd/snapctl
#
# It needs root, or a user namespace, and GNU tar. The reserve of the database is left
# out: it holds nothing, and opening the store makes it again.
set -eu
export LC_ALL=C SOURCE_DATE_EPOCH=1700000001
umask 022
snapctl=$1 name=$2 here=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# layer DIR packs a layer, the same bytes each time.
layer() {
	tar --create --file="$1.tar" --directory="$1" --sort=name --format=pax --mtime='2023-11-14 22:13:20.123456789Z' \
		--owner=0 --group=0 --numeric-owner --pax-option=delete=atime,delete=ctime .
}
mkdir -p base/bin base/etc base/data top/etc top/data own/srv more
printf 'program' >base/bin/program
chmod 4755 base/bin/program
ln base/bin/program base/bin/again
ln -s bin base/sbin
printf 'first\n' >base/etc/motd
printf 'goes\n' >base/data/gone
printf 'stays\n' >base/data/stays
printf 'second\n' >top/etc/motd
: >top/data/.wh.gone
printf 'own\n' >own/srv/file
: >own/.wh.sbin
printf 'more\n' >more/more
for l in base top own more; do layer $l; done

# The image is made with another store.
a() { "$snapctl" --root "$dir/a" --driver vfs "$@" >/dev/null; }
a prepare 1 && a apply 1 base.tar && a commit base 1
a prepare 2 base && a apply 2 top.tar && a commit top 2
a export --name fixture:1 top image.tar

s() { "$snapctl" --root "$dir/store" --driver vfs "$@"; }
{
	s import image.tar
	s prepare work fixture:1
	s apply work own.tar
	s commit "done" work
	s prepare active "done"
	s apply active more.tar
	s export --name done:1 "done" done.tar
} >/dev/null
for key in $(s ls --json | grep '"key"' | cut -d'"' -f4); do
	s diff -o "$key.diff" "$key" >/dev/null
	echo "$key $(sha256sum <"$key.diff" | cut -c1-64)"
done
s export fixture:1 again.tar >/dev/null
s export "done" done-again.tar >/dev/null
echo "fixture:1 $(sha256sum <again.tar | cut -c1-64)"
echo "done:1 $(sha256sum <done-again.tar | cut -c1-64)"
tar --create --directory=store --sort=name --format=pax --owner=0 --group=0 --numeric-owner --pax-option=delete=atime,delete=ctime \
	--exclude="./meta.db.reserve*" . | gzip -9n >"$here/$name.tar.gz"
