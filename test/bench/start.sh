#!/bin/sh
# Times the start of a cell against plain exec and the peers, as root and as an
# ordinary user. ROUNDS says how often (100), LIMIT what part of bwrap's time
# nip may take at most (0: only print).
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH CGO_ENABLED=0

test/setup.sh
. test/testuser.sh

make --no-print-directory -s build
mkdir -p "$base/fixtures"
install -m 755 bin/nip "$base/nip"
test/fixtures.sh "$base/fixtures"
go build -trimpath -o "$base/start" ./test/bench/start

set -- "$base/start" -nip "$base/nip" -fixtures "$base/fixtures" -rounds "${ROUNDS:-100}" -limit "${LIMIT:-0}"
if [ "$(id -u)" != 0 ]; then
	echo "== as $(id -un)"
	TMPDIR="$base" "$@"
	exit
fi
echo "== as root"
TMPDIR="$base" "$@"
make_user
echo
echo "== as the ordinary user $user"
as_user "$@"
