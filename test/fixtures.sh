#!/bin/sh
# Builds the programs that tests put into packages. All but native are static.
#
# usage: test/fixtures.sh DIRECTORY
#   attack   test/escape/attack: every attempt to get out of a cell
#   true     ends at once with 0; no C library, one page
#   ten      the same, with 10
#   early    test/hidden/early: path calls of a program that asks nothing by itself
#   learner  test/programs/learner: what a cell can learn of
#   gohello  a Go program
#   probe    test/hidden/probe: path calls
#   native   test/hidden/native, the same in C: a directory of the program as it is
#            dynamic, with its C library and loader, and as it is static
#   ratchet  test/ratchet: programs that give up rights, as a directory
#   empty, landrunlike   what starts of nip are timed against
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/go/bin
export PATH
out=$1
mkdir -p "$out"
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -static -pthread -o "$out/attack" test/escape/attack/*.c
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -static -o "$out/early" test/hidden/early/early.c
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -static -o "$out/learner" test/programs/learner/learner.c
tiny="-O2 -static -nostdlib -nostartfiles -Wl,--build-id=none"
# shellcheck disable=SC2086 # options
gcc $tiny -o "$out/true" test/bench/true.c
# shellcheck disable=SC2086
gcc $tiny -DSTATUS=10 -o "$out/ten" test/bench/true.c
for program in test/programs/gohello test/hidden/probe test/bench/start/empty test/bench/start/landrunlike; do
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$out/${program##*/}" "./$program"
done

native=$out/native
libraries=$(dirname "$(gcc -print-file-name=libc.so.6)")
mkdir -p "$native/tree/bin" "$native/tree/lib"
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -pthread -o "$native/tree/bin/native" test/hidden/native/probe.c
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -pthread -static -o "$native/static" test/hidden/native/probe.c
cp -L "$libraries"/libc.so.6 "$libraries"/ld-linux*.so.* "$native/tree/lib"
cp "$out/probe" "$native/tree/bin"

# ratchet: a directory of test/ratchet/try, dynamic and static, of nip-pledge and of
# test/ratchet/threads, with what they load.
ratchet=$out/ratchet
nexus/c/build.sh "$ratchet/nexus"
mkdir -p "$ratchet/tree/bin" "$ratchet/tree/lib"
try="-std=gnu11 -O2 -Wall -Wextra -Werror -pthread -I$ratchet/nexus"
# shellcheck disable=SC2086
gcc $try test/ratchet/try/*.c "$ratchet/nexus/libnexus.a" -o "$ratchet/tree/bin/try"
# shellcheck disable=SC2086
gcc -static $try test/ratchet/try/*.c "$ratchet/nexus/libnexus.a" -o "$ratchet/tree/bin/try-static"
cp -L "$libraries"/libc.so.6 "$libraries"/ld-linux*.so.* "$ratchet/tree/lib"
cp "$ratchet/nexus/files/bin/nip-pledge" "$ratchet/tree/bin"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$ratchet/tree/bin/threads" ./test/ratchet/threads
printf '#!/usr/bin/try stat=/usr\n' > "$ratchet/tree/bin/script"
chmod 755 "$ratchet/tree/bin/script"
