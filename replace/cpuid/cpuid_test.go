package cpuid

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

// The kernel lists what the processor has and what it keeps registers for.
func TestHasAsTheKernelSays(t *testing.T) {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	var flags string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "flags") {
			flags = line + " "
		}
	}
	flags = strings.ReplaceAll(flags, "\n", " ")
	for id, word := range map[FeatureID]string{SSE4: "sse4_1", AVX2: "avx2"} {
		want := runtime.GOARCH == "amd64" && strings.Contains(flags, " "+word+" ")
		if got := CPU.Has(id); got != want {
			t.Errorf("%s: %v, the kernel says %v", word, got, want)
		}
	}
	if CPU.Has(AVX2 + 1) {
		t.Error("has a feature that nobody knows")
	}
}
