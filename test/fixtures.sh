#!/bin/sh
# Builds the programs that tests put into packages. They are all static.
#
# usage: test/fixtures.sh DIRECTORY
#   attack   test/escape/attack: every attempt to get out of a cell
#   true     ends at once with 0; no C library, one page
#   ten      the same, with 10
#   early    test/hidden/early: path calls of a program that asks nothing by itself
#   gohello  a Go program
#   probe    test/hidden/probe: path calls
#   empty, landrunlike   what starts of nip are timed against
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/go/bin
export PATH
out=$1
mkdir -p "$out"
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -static -pthread -o "$out/attack" test/escape/attack/*.c
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -static -o "$out/early" test/hidden/early/early.c
tiny="-O2 -static -nostdlib -nostartfiles -Wl,--build-id=none"
# shellcheck disable=SC2086 # options
gcc $tiny -o "$out/true" test/bench/true.c
# shellcheck disable=SC2086
gcc $tiny -DSTATUS=10 -o "$out/ten" test/bench/true.c
for program in test/programs/gohello test/hidden/probe test/bench/start/empty test/bench/start/landrunlike; do
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$out/${program##*/}" "./$program"
done
