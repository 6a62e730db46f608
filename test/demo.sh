#!/bin/sh
# Shows what nip does, with real software: grafts python3.11, git, sqlite3 and
# jq from the host's apt, installs them, runs each in a cell, shows what a cell
# can and cannot see, times a start, removes everything. All of it happens in a
# root of its own, which is gone at the end.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH

test/setup.sh demo
make --no-print-directory -s build
source=$PWD
nip=$source/bin/nip

base=$(mktemp -d "${TMPDIR:-/tmp}/nip-demo.XXXXXX")
cleanup() {
	status=$?
	trap - EXIT
	chmod -R u+w "$base" 2>/dev/null || true
	rm -rf "$base"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export NIP_ROOT="$base/root"
mkdir "$base/work" "$base/private"
echo "dear diary" >"$base/private/diary"
cd "$base"

heading() { printf '\n== %s\n' "$*"; }
# show prints a command as a person would type it, and runs it.
show() {
	printf '$ nip'
	for word; do
		case $word in
		*\'*) printf ' "%s"' "$word" ;;
		*[\ \"\(\)\;\|]*) printf " '%s'" "$word" ;;
		*) printf ' %s' "$word" ;;
		esac
	done
	printf '\n'
	"$nip" "$@"
}
# must_fail runs a command that has to fail, and says how it did.
must_fail() {
	if show "$@"; then
		echo "demo: that should have failed" >&2
		exit 1
	else
		echo "  (exit status $?)"
	fi
}

heading "1. Graft: foreign software becomes packages"
show graft -q debian:python3.11 --name python3 -o python3.npk
for name in git sqlite3 jq; do
	show graft -q "debian:$name" -o "$name.npk"
done
ls -sh -- *.npk

heading "2. Install"
for name in python3 git sqlite3 jq; do
	show install -q "$name.npk"
done
show list

heading "3. Run each in a cell"
show run python3 -c 'import ssl, sqlite3, ctypes; print("hello from", ssl.OPENSSL_VERSION)'
show run --unveil "$base/work:rw" git init -q -b main "$base/work/repository"
show run --unveil "$base/work:rw" git -C "$base/work/repository" -c user.name=demo -c user.email=demo@example.org commit -q --allow-empty -m "made in a cell"
show run --unveil "$base/work:rw" git -C "$base/work/repository" --no-pager log --format='%h %s'
show run sqlite3 :memory: "select 'sqlite ' || sqlite_version()"
echo '{"cells":[1,2,3]}' | show run jq -c '.cells | add'

heading "4. What a cell sees: its own package and data, and what is unveiled"
look='import os, sys
for path in sys.argv[1:]:
    try:
        n = len(os.listdir(path)) if os.path.isdir(path) else len(open(path).read())
        print("  can read    ", path, n)
    except OSError as e:
        print("  cannot read ", path, "-", e.strerror)'
echo "$ nip run --unveil $base/work:r python3 -c '(try to read each)' …"
"$nip" run --unveil "$base/work:r" python3 -c "$look" "$base/work" "$NIP_ROOT/Data/apps/python3" "$base/private/diary" \
	/etc/passwd /etc /usr/lib /home / "$NIP_ROOT/Nexus" "$NIP_ROOT/Data/apps"

heading "5. What a cell does beyond its pledge is a capability fault"
must_fail run --pledge STDIO,RPATH,WPATH python3 -c 'import socket; socket.socket().connect(("127.0.0.1", 9))'
must_fail run --pledge STDIO,RPATH,WPATH python3 -c 'import os; os.system("true")'
show ledger | tail -n 6

heading "6. How long a start takes (started in turn; milliseconds)"
mkdir "$base/fixtures"
"$source/test/fixtures.sh" "$base/fixtures"
(cd "$source" && CGO_ENABLED=0 go build -o "$base/start" ./test/bench/start)
TMPDIR="$base" "$base/start" -nip "$nip" -fixtures "$base/fixtures" -rounds 60

heading "7. Remove everything"
show remove -q --purge python3 git sqlite3 jq
show list
left=$(find "$NIP_ROOT/Programs" "$NIP_ROOT/System/Views" "$NIP_ROOT/Cas" "$NIP_ROOT/Cell" "$NIP_ROOT/Data/apps" -mindepth 1 ! -type d)
if [ -n "$left" ]; then
	echo "demo: this is left:" >&2
	echo "$left" >&2
	exit 1
fi
echo "nothing is left in Programs, System/Views, Cas, Cell and Data/apps"
