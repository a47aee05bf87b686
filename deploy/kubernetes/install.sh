#!/bin/sh
# Installs the service on a node and keeps it as this image has it.
#
#   install.sh install   install or upgrade, then wait to be ended
#   install.sh ready     succeeds while the service answers
#   install.sh remove    stop the service and take it away; the store stays
#
# HOST is where the node's root file system is. What is on the node already is
# left alone when it is the same, so that a new pod restarts nothing.
set -eu

HOST=${HOST:-/host}
FROM=${FROM:-/layerkeep}
CONFIG=${CONFIG:-/config/config.toml}
UNITS="layerkeep.socket layerkeep.service"

# on_node runs a program of the node.
on_node() { nsenter --target 1 --mount --uts --ipc --net -- "$@"; }

# put copies a file to the node, whole or not at all. It succeeds when that changed
# anything. As it is called in conditions, set -e does not watch over it.
put() {
	if cmp -s "$1" "$HOST$2"; then
		return 1
	fi
	{
		mkdir -p "$(dirname "$HOST$2")" &&
			cp "$1" "$HOST$2.new" &&
			chmod "$3" "$HOST$2.new" &&
			mv -f "$HOST$2.new" "$HOST$2"
	} || exit 1
	echo "installed $2"
}

# version_on_node prints the version of the node's containerd.
version_on_node() {
	if ! said=$(on_node containerd --version); then
		echo "the node has no containerd that can be found: 'containerd --version' failed there" >&2
		return 1
	fi
	echo "$said" | cut -d ' ' -f 3
}

# plugin is the configuration for a containerd of a version.
plugin() {
	case ${1#v} in
	1.7.[0-3] | 1.7.[0-3][!0-9]*) echo config-1.6.toml ;;
	1.7.*) echo config-1.7.toml ;;
	1.6.*) echo config-1.6.toml ;;
	[2-9].*) echo config-2.toml ;;
	*)
		echo "there is no configuration for the node's containerd, of version '$1'" >&2
		return 1
		;;
	esac
}

# setting prints a string of the service's configuration, nothing if it has none.
setting() {
	for file in "$CONFIG" "$HOST/etc/layerkeep/config.toml"; do
		if [ -f "$file" ]; then
			sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*[\"']\([^\"']*\)[\"'].*/\1/p" "$file" | head -n 1
			return
		fi
	done
}

# driver prints the driver of the node's store, nothing if there is none yet.
driver() {
	root=$(setting root)
	header=$HOST${root:-/var/lib/layerkeep}/layerkeep.json
	if [ -f "$header" ]; then
		sed -n 's/.*"driver": *"\([^"]*\)".*/\1/p' "$header"
	else
		setting driver
	fi
}

# put_plugin puts the file for containerd on the node. Only overlay2 can give layers
# their parents later: with another driver, containerd must not be told so.
put_plugin() {
	from=$FROM/containerd/$1
	case $(driver) in
	overlay2 | '') ;;
	*)
		without=$(mktemp)
		sed 's/"rebase", *//; s/, *"rebase"//' "$from" >"$without"
		from=$without
		;;
	esac
	if put "$from" /etc/containerd/conf.d/layerkeep.toml 0644; then
		echo "containerd has to be restarted, see the README"
	fi
	rm -f "${without:-}"
}

install_node() {
	version=$(version_on_node)
	file=$(plugin "$version")
	service='' socket=''
	put "$FROM/bin/snapctl" /usr/local/bin/snapctl 0755 && service=changed
	put "$FROM/systemd/layerkeep.service" /etc/systemd/system/layerkeep.service 0644 && service=changed
	put "$FROM/systemd/layerkeep.socket" /etc/systemd/system/layerkeep.socket 0644 && socket=changed
	# A file of the operator, from a ConfigMap.
	if [ -f "$CONFIG" ]; then
		put "$CONFIG" /etc/layerkeep/config.toml 0644 && service=changed
	fi
	if [ -n "$socket$service" ]; then
		on_node systemctl daemon-reload
		on_node systemctl enable layerkeep.socket layerkeep.service
	fi
	if [ -n "$socket" ]; then
		# systemd refuses to open a socket whose service is running.
		on_node systemctl stop layerkeep.socket layerkeep.service
	elif [ -n "$service" ]; then
		# The socket stays open, so calls wait until the new service takes them.
		on_node systemctl restart layerkeep.service
	fi
	on_node systemctl start layerkeep.socket layerkeep.service
	# Now there is a store, which tells its driver. containerd reads this when it is
	# started the next time, if its configuration names conf.d.
	put_plugin "$file"
}

remove_node() {
	# shellcheck disable=SC2086 # several words
	on_node systemctl disable --now $UNITS || true
	for unit in $UNITS; do
		rm -f "$HOST/etc/systemd/system/$unit"
	done
	on_node systemctl daemon-reload
	rm -f "$HOST/usr/local/bin/snapctl" "$HOST/etc/containerd/conf.d/layerkeep.toml"
	echo "removed; the store is left in /var/lib/layerkeep"
}

case ${1:-install} in
install)
	install_node
	trap 'exit 0' TERM INT
	while :; do
		sleep 3600 &
		wait $!
	done
	;;
ready) on_node systemctl is-active --quiet layerkeep.service ;;
remove) remove_node ;;
*)
	echo "usage: install.sh install|ready|remove" >&2
	exit 2
	;;
esac
