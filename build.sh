#!/bin/sh
# build.sh OUTPUT: builds nip, one static binary: the whole nip, carried by its
# front (cmd/nip/front). GOARCH chooses the architecture.
set -eu
cd "$(dirname "$0")"
export CGO_ENABLED=0
whole=cmd/nip/front/whole/nip
next=cmd/nip/front/.nip.$$ # not in whole: what is there is carried along
overlay=$(mktemp)
trap 'rm -f "$next" "$overlay"' EXIT
go build -trimpath -ldflags "-s -w" -o "$next" ./cmd/nip
mv "$next" "$whole"

# One file of the runtime is ours (it says why). It fits this Go.
case $(go env GOVERSION) in
go1.26*) printf '{"Replace": {"%s/src/runtime/cgroup_linux.go": "%s/replace/_runtime/cgroup_linux.go"}}' "$(go env GOROOT)" "$PWD" ;;
*) echo '{}' ;;
esac >"$overlay"
# The front hashes a few lines of the ledger. Asking the processor which of its
# instructions would be quicker for that takes longer (replace/cpuid).
go build -trimpath -overlay "$overlay" -tags purego -ldflags "-s -w" -o "$1" ./cmd/nip/front
