#!/bin/sh
# Runs a test binary as the ordinary test user: `go test -exec` calls it in the
# directory of the package. Both the binary and the sources are copies that the
# user can read, wherever the checkout is.
#
# NIP_TEST_SRC   the checkout        NIP_TEST_BASE  directory of the user's copies
# NIP_TEST_USER  name of the user      NIP_TEST_FAR   directory of his that is not below /tmp
# NIP_SOAK       not empty: what runs against time does so at length
# NIP_SEED       repeats random calls
set -eu
binary=$1
shift
copy=$NIP_TEST_BASE/bin/$(basename "$binary").$$
install -m 755 "$binary" "$copy"
cd "$NIP_TEST_BASE/src${PWD#"$NIP_TEST_SRC"}"
exec setpriv --reuid="$NIP_TEST_USER" --regid="$NIP_TEST_USER" --init-groups \
	env -i PATH="$PATH" LANG=C.UTF-8 TERM="${TERM:-dumb}" USER="$NIP_TEST_USER" LOGNAME="$NIP_TEST_USER" \
	HOME="$NIP_TEST_BASE/home" TMPDIR="$NIP_TEST_BASE/tmp" \
	NIP="$NIP" NIP_TEST_FIXTURES="$NIP_TEST_FIXTURES" NIP_TEST_CACHE="$NIP_TEST_BASE/cache" NIP_TEST_FAR="$NIP_TEST_FAR" \
	NIP_SOAK="${NIP_SOAK-}" NIP_SEED="${NIP_SEED-}" \
	"$copy" "$@"
