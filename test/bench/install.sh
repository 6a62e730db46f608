#!/bin/sh
# Times the installation of a 100 MB package against cp -r. SPEED and DISK are
# the limits that make it end with 1 (see test/bench/install); 0: only print.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/local/go/bin
export PATH CGO_ENABLED=0

test/setup.sh
. test/testuser.sh
make --no-print-directory -s build
TMPDIR="$base" go run ./test/bench/install -nip bin/nip -rounds "${ROUNDS:-5}" -speed "${SPEED:-0}" -disk "${DISK:-0}"
