# Sourced by the scripts that run things as root and as an ordinary user. Sets
# base, a directory for everything that is made, and user. All of it is gone
# when the script ends, also after a failure or an interrupt.
#
# as_user COMMAND...   runs it as the ordinary user, in a clean environment

base=$(mktemp -d "${TMPDIR:-/tmp}/nip-test.XXXXXX")
chmod 755 "$base"
user=nip-test-$$ # several runs at once have their own
made_user=
far= # a directory of the user's that is not below /tmp

cleanup() {
	status=$?
	trap - EXIT
	if [ "$(id -u)" = 0 ] && id "$user" >/dev/null 2>&1; then
		# Zombies are done: they wait for their reaper, which may be slow.
		left=$(ps -u "$user" -o stat=,pid= | awk '$1 !~ /^Z/ { print $2 }' || true)
		if [ -n "$left" ]; then
			echo "processes of $user were left behind:" $left >&2
			# shellcheck disable=SC2086 # a list of pids
			kill -9 $left 2>/dev/null || true
			[ "$status" != 0 ] || status=1
		fi
		[ -z "$made_user" ] || userdel "$user" 2>/dev/null || true
	fi
	chmod -R u+rwX "$base" 2>/dev/null || true
	rm -rf "$base"
	[ -z "$far" ] || rm -rf "$far"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# make_user makes the user, if root runs this and there is none, and his directories.
make_user() {
	if ! id "$user" >/dev/null 2>&1; then
		useradd --system --user-group --no-create-home --home-dir "$base/user/home" --shell /bin/sh "$user"
		made_user=1
	fi
	mkdir -p "$base/user/src" "$base/user/bin" "$base/user/home" "$base/user/tmp" "$base/user/cache"
	far=$(mktemp -d /home/nip-test.XXXXXX)
	chown -R "$user:" "$base/user" "$far"
	chmod 755 "$far"
}

as_user() {
	setpriv --reuid="$user" --regid="$user" --init-groups \
		env -i PATH="$PATH" LANG=C.UTF-8 TERM="${TERM:-dumb}" USER="$user" LOGNAME="$user" \
		HOME="$base/user/home" TMPDIR="$base/user/tmp" "$@"
}
