#!/bin/sh
# Builds and runs every test: as root and as an ordinary user when root starts
# it, the user's half alone otherwise. The last line is "N passed, N failed".
#
# usage: test/run.sh [PACKAGE...]     default: ./...
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- ./...
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH CGO_ENABLED=0

test/setup.sh
. test/testuser.sh

test/lint.sh
make --no-print-directory -s build
mkdir -p "$base/bin" "$base/fixtures" "$base/cache"
install -m 755 bin/nip "$base/bin/nip"
go build -trimpath -o "$base/bin/summary" ./test/summary
test/fixtures.sh "$base/fixtures"

export NIP="$base/bin/nip" NIP_TEST_FIXTURES="$base/fixtures" NIP_TEST_CACHE="$base/cache"
flags="-json -count=1 -timeout=30m"

# halves runs the test suite for each kind of user there is here.
halves() {
	if [ "$(id -u)" != 0 ]; then
		echo "== as $(id -un); the half as root is left out: run it with sudo make test"
		# shellcheck disable=SC2086 # a list of flags
		go test $flags "$@" || true # summary says what failed
		return
	fi
	echo "== as root"
	# shellcheck disable=SC2086
	go test $flags "$@" || true

	NIP_TEST_SRC=$(pwd -P)
	export NIP_TEST_SRC NIP_TEST_BASE="$base/user" NIP_TEST_USER="$user" NIP_TEST_FAR="$far"
	tar -c --exclude=./.git --exclude=./bin --exclude=./build . | tar -x -C "$base/user/src"
	# What root has downloaded need not be downloaded again.
	cp -r "$base/cache/." "$base/user/cache"
	chown -R "$user:" "$base/user"
	chmod -R a+rX "$base/user"
	echo "== as the ordinary user $user"
	# shellcheck disable=SC2086
	go test $flags -exec "$NIP_TEST_SRC/test/as-user.sh" "$@" || true
}

# The left side of a pipeline is a subshell: the user is made before it, so
# that cleanup knows.
[ "$(id -u)" != 0 ] || make_user
halves "$@" 2>&1 | "$base/bin/summary"
