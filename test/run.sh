#!/bin/sh
# Builds and runs every test: as root and as an ordinary user when root starts
# it, the user's half alone otherwise. The last line is "N passed, N failed".
# What it makes (a directory, the user nip-test if there is none) is gone at the
# end, also after a failure or an interrupt.
#
# usage: test/run.sh [PACKAGE...]     default: ./...
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- ./...
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH CGO_ENABLED=0

test/setup.sh

base=$(mktemp -d "${TMPDIR:-/tmp}/nip-test.XXXXXX")
chmod 755 "$base"
user=nip-test
made_user=

cleanup() {
	status=$?
	trap - EXIT
	if [ "$(id -u)" = 0 ] && id "$user" >/dev/null 2>&1; then
		left=$(pgrep -u "$user" || true)
		if [ -n "$left" ]; then
			echo "run: processes of $user were left behind:" $left >&2
			# shellcheck disable=SC2086 # a list of pids
			kill -9 $left 2>/dev/null || true
			[ "$status" != 0 ] || status=1
		fi
		[ -z "$made_user" ] || userdel "$user" 2>/dev/null || true
	fi
	chmod -R u+w "$base" 2>/dev/null || true
	rm -rf "$base"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

test/lint.sh
make --no-print-directory -s build
mkdir -p "$base/bin" "$base/fixtures" "$base/apt"
install -m 755 bin/nip "$base/bin/nip"
go build -trimpath -o "$base/bin/summary" ./test/summary
test/fixtures.sh "$base/fixtures"

export NIP="$base/bin/nip" NIP_TEST_FIXTURES="$base/fixtures" NIP_TEST_APT="$base/apt"
flags="-json -count=1 -timeout=30m"

# halves runs the test suite for each kind of user there is here.
halves() {
	if [ "$(id -u)" != 0 ]; then
		echo "== as $(id -un); the half as root is left out: run it with sudo make test"
		# shellcheck disable=SC2086
		go test $flags "$@" || true
		return
	fi
	echo "== as root"
	# shellcheck disable=SC2086
	go test $flags "$@" || true

	NIP_TEST_SRC=$(pwd -P)
	export NIP_TEST_SRC NIP_TEST_BASE="$base/user" NIP_TEST_USER="$user"
	mkdir -p "$base/user/src" "$base/user/bin" "$base/user/home" "$base/user/tmp"
	tar -c --exclude=./.git --exclude=./bin --exclude=./build . | tar -x -C "$base/user/src"
	chown -R "$user:" "$base/user"
	chmod -R a+rX "$base/user"
	chmod -R a+rwX "$base/apt"
	echo "== as the ordinary user $user"
	# shellcheck disable=SC2086
	go test $flags -exec "$NIP_TEST_SRC/test/as-user.sh" "$@" || true
}

# A pipeline's left side is a subshell: the user is made before it, so that
# cleanup knows.
if [ "$(id -u)" = 0 ] && ! id "$user" >/dev/null 2>&1; then
	useradd --system --user-group --no-create-home --home-dir "$base/user/home" --shell /bin/sh "$user"
	made_user=1
fi
halves "$@" 2>&1 | "$base/bin/summary"
