// Package shim holds the machine code that native views put into executables:
// the shim, which makes path calls by way of the zone, and the stub, which maps
// and seals the zone before a program's first instruction. Both are flat and
// position-independent: entry at the first byte, no relocations, no writable
// state. Their sources are in src; build/gen compiles them.
package shim

import (
	_ "embed" // the pieces below
)

//go:embed shim_amd64.bin
var shimAMD64 string

//go:embed shim_arm64.bin
var shimARM64 string

//go:embed stub_amd64.bin
var stubAMD64 string

//go:embed stub_arm64.bin
var stubARM64 string

// Code returns the shim for a machine, by GOARCH, or "" where there is none.
func Code(arch string) string {
	switch arch {
	case "amd64":
		return shimAMD64
	case "arm64":
		return shimARM64
	}
	return ""
}

// Stub returns the stub for a machine, by GOARCH, or "" where there is none. A
// jump to the original entry is to follow it.
func Stub(arch string) string {
	switch arch {
	case "amd64":
		return stubAMD64
	case "arm64":
		return stubARM64
	}
	return ""
}
