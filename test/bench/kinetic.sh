#!/bin/sh
# What hostile programs do to others on the host: without limits, under ulimit alone, under
# a systemd scope where the machine has that, and in a cell; then what metering costs.
# SECONDS_EACH says how long each goes on (default 5).
#
# A probe sleeps a millisecond, again and again: p50 and p99 are how much later it is
# woken. A victim computes: its share is of one core.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH CGO_ENABLED=0
each=${SECONDS_EACH:-5}
test/setup.sh bench
. test/testuser.sh

make --no-print-directory -s build
tree=$base/tree root=$base/root
mkdir -p "$tree/bin" "$root"
for name in kinetic/testdata/load hostile/testdata/hostile hostile/testdata/probe; do
	gcc -std=gnu11 -O2 -static -pthread -o "$tree/bin/$(basename $name)" "test/$name.c"
done
nip() { bin/nip --root "$root" "$@"; }
nip graft -q "dir:$tree" --name load --version 1 -o "$base/load.npk"
nip install -q "$base/load.npk"
budget=fibers=64,memory=256M,cpu=50%,disk=128M

stop_all() { nip ps --json | awk -F '"' '/"fiber"/ { print $4 }' | while read -r fiber; do nip stop -q --time 100ms "$fiber"; done; }

# measure NAME: the probe and the victim, beside whatever runs.
measure() {
	"$tree/bin/load" procs 1 "$((each - 1))" >"$base/victim" &
	victim=$!
	"$tree/bin/probe" "$((each - 1))" >"$base/probe"
	wait "$victim"
	awk -v name="$1" -v kind="$2" 'FNR == 1 && NR == FNR { p50 = $2; p99 = $4; worst = $6; next }
		/^used/ { share = 100 * $2 / $4 }
		END { printf "%-12s %-28s %8d %8d %8d %8.0f %%\n", kind, name, p50, p99, worst, share }' "$base/probe" "$base/victim"
}

# beside KIND NAME COMMAND...: measures while the command runs, and ends it.
beside() {
	kind=$1 name=$2
	shift 2
	"$@" >/dev/null 2>&1 &
	attack=$!
	sleep 0.5
	measure "$name" "$kind"
	stop_all # what is busy with its own signals does not see the time pass
	wait "$attack" || true
}


have_scope=$(systemd-run --version >/dev/null 2>&1 && systemd-run --quiet --scope true 2>/dev/null && echo yes || echo no)
printf '%-12s %-28s %8s %8s %8s %8s\n' attack under "p50 us" "p99 us" worst victim
measure nothing "none"
for kind in busy forks threads zombies memory disk pipes signals timers; do
	if [ "$(id -u)" != 0 ] && [ "$kind" != signals ] && [ "$kind" != timers ]; then
		beside "$kind" "ulimit" env HOME="$base" sh -c 'ulimit -v 65536; ulimit -t '"$each"'; ulimit -f 131072; ulimit -u 200; exec "$0" "$@"' "$tree/bin/hostile" "$kind" "$each"
	fi
	if [ "$have_scope" = yes ] && [ "$kind" != signals ] && [ "$kind" != timers ]; then
		beside "$kind" "systemd scope" systemd-run --quiet --scope -p TasksMax=64 -p MemoryMax=256M -p CPUQuota=50% env HOME="$base" "$tree/bin/hostile" "$kind" "$each"
	fi
	beside "$kind" "nip" nip run --budget "$budget" load/hostile "$kind" "$each"
done
[ "$have_scope" = yes ] || echo "(no systemd that makes scopes on this machine)"

# ticks PID...: CPU time of processes, in clock ticks of 10 ms.
ticks() {
	for pid; do cat "/proc/$pid/stat" 2>/dev/null || true; done | sed 's/.*) //' | awk '{ sum += $12 + $13 } END { print sum + 0 }'
}
supervisors() { nip ps --json | awk -F '[:,]' '/"supervisor"/ { print $2 + 0 }'; }

echo
printf '%-60s %10s\n' "metering costs" "of a core"
cost() {
	# shellcheck disable=SC2046 # numbers
	before=$(ticks $(supervisors)) pids=$(supervisors)
	sleep 10
	# shellcheck disable=SC2086
	after=$(ticks $pids)
	awk -v name="$1" -v used="$((after - before))" 'BEGIN { printf "%-60s %8.2f %%\n", name, used / 10 }'
}
for how in none "$budget"; do
	for _ in $(seq 50); do
		if [ "$how" = none ]; then
			nip run -d load/load idles 1 60 >/dev/null
		else
			nip run -d --budget "$how" load/load idles 1 60 >/dev/null
		fi
	done
	sleep 2
	cost "50 idle cells, budget $how"
	stop_all
done
for load in "procs 1" "procs 64"; do
	# shellcheck disable=SC2086
	nip run -d --budget "$budget" load/load $load 60 >/dev/null
	sleep 1
	cost "one busy cell ($load), budget $budget"
	stop_all
done
