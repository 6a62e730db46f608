#!/bin/sh
# gofmt and go vet over the whole repository.
set -eu
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l cmd internal ion nexus test)
if [ -n "$unformatted" ]; then
	echo "lint: not formatted, run gofmt -w on:" >&2
	echo "$unformatted" >&2
	exit 1
fi
go vet ./...
