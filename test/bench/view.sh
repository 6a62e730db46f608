#!/bin/sh
# Times path calls and programs as they are, with native views, and with every
# path call asked. LIMITS=1 fails where a figure is beyond the plan's; ROUNDS,
# FILES and TRACKED say how much is measured.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH CGO_ENABLED=0

test/setup.sh
base=$(mktemp -d "${TMPDIR:-/tmp}/nip-bench.XXXXXX")
trap 'rm -rf "$base"' EXIT
gcc -O2 -o "$base/calls" test/bench/view/testdata/calls.c
go build -trimpath -o "$base/view" ./test/bench/view
TMPDIR=$base "$base/view" -calls "$base/calls" -rounds "${ROUNDS:-15}" -files "${FILES:-50000}" -tracked "${TRACKED:-10000}" ${LIMITS:+-limits}
