#!/bin/sh
# Installs the programs that the integration tests and the benchmarks run.
# As root on Debian it does so itself, without starting any service; else it
# says what is missing and fails, for a test that is skipped proves nothing.
set -eu

packages='
	dovecot-imapd dovecot-lmtpd dovecot-pop3d dovecot-sieve
	rsync openssh-server openssh-client
	iproute2 iputils-arping util-linux shellcheck e2fsprogs xfsprogs btrfs-progs
	ipmitool openipmi postfix
'

# missing prints the packages that are not installed.
missing() {
	for package in $packages; do
		dpkg-query --show --showformat='${Status}\n' "$package" 2>/dev/null |
			grep -q 'ok installed$' || echo "$package"
	done
}

# programs is what is looked for where there is no dpkg.
programs() {
	PATH=$PATH:/usr/sbin:/sbin
	for program in dovecot rsync sshd ssh ip tc arping nsenter shellcheck mkfs.ext4 mkfs.xfs mkfs.btrfs ipmitool ipmi_sim postfix; do
		command -v "$program" >/dev/null || echo "$program"
	done
}

# install installs the packages named, with policy-rc.d in place, which keeps
# Debian from starting what it installs. Nothing is removed for it: Postfix would take the
# place of another mail server.
install() {
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	export DEBIAN_FRONTEND=noninteractive
	# The lists of a new machine are old or not there at all.
	apt-get install -qq -y --no-install-recommends --no-remove "$@" ||
		{ apt-get update -qq && apt-get install -qq -y --no-install-recommends --no-remove "$@"; }
}

if ! command -v dpkg-query >/dev/null; then
	lacking=$(programs)
	[ -z "$lacking" ] && exit 0
	echo "The integration tests need programs that are not installed:" $lacking >&2
	echo "On Debian they are in the packages:" $packages >&2
	exit 1
fi

lacking=$(missing)
[ -z "$lacking" ] && exit 0
if [ "$(id -u)" != 0 ]; then
	echo "The integration tests need Debian packages that are not installed. Install them with" >&2
	echo "    sudo apt-get install" $lacking >&2
	echo "or run this once as root." >&2
	exit 1
fi
install $lacking
