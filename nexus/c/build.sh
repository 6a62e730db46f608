#!/bin/sh
# Builds libnexus.a and nip-pledge, which is static, and lays out the package of it:
# nip pack OUTPUT/recipe.kdl. CC chooses compiler and machine (musl-gcc,
# aarch64-linux-gnu-gcc); nip-pledge.c keeps its native views with the GNU C library only.
#
# usage: nexus/c/build.sh OUTPUT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
cc=${CC:-gcc}
mkdir -p "$out/files/bin"
flags="-std=gnu11 -O2 -Wall -Wextra -Werror"
# Debian's musl-gcc looks for no kernel headers.
case ${cc##*/} in musl-gcc*)
	flags="$flags -idirafter /usr/include -idirafter /usr/include/$(gcc -print-multiarch)" ;;
esac
# shellcheck disable=SC2086 # options
$cc $flags -c -o "$out/nexus.o" "$here/nexus.c"
rm -f "$out/libnexus.a"
ar rcs "$out/libnexus.a" "$out/nexus.o"
rm "$out/nexus.o"
# shellcheck disable=SC2086
$cc $flags -static -o "$out/files/bin/nip-pledge" "$here/nip-pledge.c" "$out/libnexus.a"
cp "$here/recipe.kdl" "$here/nexus.h" "$out"
