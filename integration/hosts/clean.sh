# Removes everything of a network of hosts: clean.sh PREFIX DIRECTORY [wait]
# The processes in its namespaces, the namespaces, the mounts beneath its
# directory, and the directory. With "wait" it does so when its standard input
# ends, which is when the process that holds the other end is gone.
prefix=$1 directory=$2

if [ "${3-}" = wait ]; then
	trap '' INT TERM HUP
	cat >/dev/null
fi

namespaces() {
	ls /run/netns 2>/dev/null | grep "^$prefix-"
}

mounts() {
	while read -r _ mount _; do
		case $mount in
		"$directory"/*) echo "$mount" ;;
		esac
	done </proc/mounts | sort -r
}

# A process may start another one while it is being killed, and anything may be busy
# for a moment while others are made and removed. What was looked at while others
# changed it, as the list of mounts, may lack something. The directory goes last: when
# it is gone, its name and the prefix may be somebody else's.
try=0
while [ $((try += 1)) -le 100 ]; do
	pids=$(for ns in $(namespaces); do ip netns pids "$ns"; done)
	if [ -n "$pids" ]; then
		kill -9 $pids 2>/dev/null
		sleep 0.05
		continue
	fi
	for ns in $(namespaces); do ip netns delete "$ns"; done
	mounts | while read -r mount; do
		umount "$mount" 2>/dev/null || umount -l "$mount"
	done
	[ -n "$(namespaces)" ] || ! rm -rf --one-file-system "$directory" || exit 0
	sleep 0.1
done
exit 1
