//go:build !amd64

package cpuid

func hasSSE4() bool { return false }
func hasAVX2() bool { return false }
