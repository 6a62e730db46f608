// Package cpuid stands in for the package of that name that the BLAKE3 library
// asks two questions. The original finds out all about the processor when a
// program starts: 25 CPUID instructions and more, each of which leaves a virtual
// machine, 0.3 ms in all. That was a tenth of the time of a whole `nip run`.
// This one passes the questions on to golang.org/x/sys/cpu, which needs a few.
package cpuid

import "golang.org/x/sys/cpu"

// FeatureID names a feature of the processor.
type FeatureID uint8

// The features that somebody asks for.
const (
	SSE4 FeatureID = iota // SSE 4.1
	AVX2                  // and an operating system that keeps its registers
)

// CPUInfo answers for the processor that the program runs on.
type CPUInfo struct{}

// CPU is the processor that the program runs on.
var CPU CPUInfo

// Has reports whether the processor has the feature. It is false on all
// processors but those of the amd64 architecture.
func (CPUInfo) Has(id FeatureID) bool {
	switch id {
	case SSE4:
		return cpu.X86.HasSSE41
	case AVX2:
		return cpu.X86.HasAVX2
	}
	return false
}
