#!/bin/sh
# build.sh OUTPUT: builds nip, one static binary: the whole nip, carried by its
# front (cmd/nip/front). GOARCH chooses the architecture.
set -eu
cd "$(dirname "$0")"
export CGO_ENABLED=0
whole=cmd/nip/front/whole/nip
trap 'rm -f "$whole.tmp"' EXIT
go build -trimpath -ldflags "-s -w" -o "$whole.tmp" ./cmd/nip
mv "$whole.tmp" "$whole"
# The front hashes a few lines of the ledger. Asking the processor which of its
# instructions would be quicker for that takes longer (replace/cpuid).
go build -trimpath -tags purego -ldflags "-s -w" -o "$1" ./cmd/nip/front
