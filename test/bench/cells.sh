#!/bin/sh
# Times path calls and real programs as they are, under bwrap, in cells with
# native views and in cells in which every path call is asked, as root and as an
# ordinary user. LIMITS=1 fails where a figure is beyond the plan's; ROUNDS, FILES,
# TRACKED and ONLY (part of a row's name) say how much is measured.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH CGO_ENABLED=0

# Not below /tmp, where nobody's work lies: cells have a /tmp of their own.
if [ -z "${TMPDIR-}" ]; then
	TMPDIR=$HOME
	[ ! -w /home ] || TMPDIR=/home
	export TMPDIR
fi
test/setup.sh bench
. test/testuser.sh

make --no-print-directory -s build
mkdir -p "$base/fixtures" "$base/npk"
install -m 755 bin/nip "$base/nip"
test/fixtures.sh "$base/fixtures"
gcc -O2 -o "$base/fixtures/calls" test/bench/view/testdata/calls.c
gcc -O2 -o "$base/fixtures/wall" test/bench/cells/testdata/wall.c
go build -trimpath -o "$base/cells" ./test/bench/cells

set -- "$base/cells" -nip "$base/nip" -fixtures "$base/fixtures" -packages "$base/npk" -rounds "${ROUNDS:-21}" \
	-files "${FILES:-50000}" -tracked "${TRACKED:-10000}" -only "${ONLY:-}" ${LIMITS:+-limits}
TMPDIR="$base" "$@" -graft
if [ "$(id -u)" != 0 ]; then
	echo "== as $(id -un)"
	TMPDIR="$base" "$@"
	exit
fi
status=0
echo "== as root"
TMPDIR="$base" "$@" || status=$?
make_user
echo
echo "== as the ordinary user $user"
as_user "$@" || status=$?
exit "$status"
