#!/bin/sh
# Fuzzes every fuzz target for a while each (the first argument, 60s if there is
# none), runs the tests that race against time again and again, attacks a ring for 30
# minutes and kills its other side 10,000 times, and attacks the zone, the roots and the supervisor for minutes of races, ten of random opens and ten
# of any system calls, as root and as an ordinary user. It ends with an error at the
# first thing that is found.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH CGO_ENABLED=0
each=${1:-60s}

test/setup.sh
for dir in $(grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' cmd internal ion | xargs -n 1 dirname | sort -u); do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | cut -d ' ' -f 2 | sort -u); do
		echo "== $dir $target, $each"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$each" "./$dir"
	done
done
echo "== races against cells that outlive their supervisor"
go test -count=20 -timeout=60m -run 'TestOutliving|TestProcesses|TestFiles/turn' ./test/escape
echo "== a hostile other side of a ring, and one that is killed, at length"
NIP_SOAK=1 go test -count=1 -timeout=90m -v -run 'TestHostilePeer|TestKilled' ./ion
echo "== races and random calls, at length"
NIP_SOAK=1 test/run.sh -run 'TestRaces|TestSwaps|TestRandomOpens|TestRandomCalls' ./test/escape
