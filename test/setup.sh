#!/bin/sh
# Installs, by their Debian names, the packages that the build, the tests, the
# benchmarks and the demo need. What is there already is left alone, so that a
# second run costs nothing and needs no rights. Needs root or sudo otherwise.
#
# usage: test/setup.sh [demo|bench]     demo: only what `make demo` needs
#                                       bench: also the programs that are timed
set -eu
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin

die() { echo "setup: $*" >&2; exit 1; }

command -v dpkg-query >/dev/null || die "dpkg-query is missing: this project is tested on Debian 12 or newer"
command -v go >/dev/null || die "go is missing: install Go 1.26 or newer in /usr/local/go or put it on PATH"

# The C programs of the tests are static: gcc and libc6-dev. bubblewrap, runc
# and hyperfine are the peers and the clock of the benchmarks.
packages="ca-certificates make git gcc libc6-dev bubblewrap"
[ "${1-}" != bench ] || packages="$packages binutils nodejs bash tar coreutils python3.11"
if [ "${1-}" != demo ]; then
	packages="$packages runc hyperfine strace procps qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross python3 busybox-static musl-tools curl"
fi

missing=
for p in $packages; do
	status=$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null) || status=
	[ "$status" = installed ] || missing="$missing $p"
done
# Grafting asks the host's apt, which needs its lists.
lists=$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null | head -n 1)

[ -n "$missing" ] || [ -z "$lists" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null ||
		die "as root, run: apt-get update && apt-get install -y${missing:- (the lists are enough)}"
	sudo=sudo
fi
$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq || die "apt-get update ended with $?"
if [ -n "$missing" ]; then
	echo "setup: installing$missing"
	# shellcheck disable=SC2086 # the list is split on purpose
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
		die "apt-get install$missing ended with $?"
fi
