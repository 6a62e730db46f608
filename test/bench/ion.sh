#!/bin/sh
# ION rings between two processes, beside sockets, pipes, eventfds, memcpy and a plain
# queue in C, in one run.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/local/go/bin
export PATH CGO_ENABLED=0
test/setup.sh bench
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM
gcc -std=gnu11 -O2 -o "$dir/spsc" test/bench/ion/testdata/spsc.c
go build -o "$dir/ion" ./test/bench/ion
"$dir/ion" "$dir/spsc"
