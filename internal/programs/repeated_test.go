package programs

import (
	"slices"
	"strings"
	"testing"
)

// TestRepeatedContent installs files that hold the same stretch again and
// again: a chunk of the package then goes to several places of one file, and
// runs of chunks lie across each other. In the worst of them the stretch is
// whole chunks.
func TestRepeatedContent(t *testing.T) {
	stretch := big(7, 600<<10)
	for name, text := range map[string]string{
		"whole chunks":   wholeChunks(t),
		"across chunks":  strings.Repeat(stretch, 3),
		"between others": big(8, 300<<10) + stretch + big(9, 90<<10) + stretch + big(8, 300<<10) + stretch,
		"the same byte":  strings.Repeat("\x00", 3<<20),
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			root := testRoot(t)
			p := tool("1.0")
			p.files["share/repeated"] = text
			install(t, root, p)
			verifyClean(t, root)
		})
	}
}

// wholeChunks returns a text that begins with the same chunks twice.
func wholeChunks(t *testing.T) string {
	t.Helper()
	for seed := range 20 {
		stretch := big(seed, 300<<10)
		p := tool("1.0")
		p.files["share/text"] = strings.Repeat(stretch, 4)
		chunks := entry(t, install(t, testRoot(t), p), "share/text").Chunks
		for i, c := range chunks {
			again := slices.Index(chunks[i+1:], c) + i + 1
			n := again - i
			if again == i || again+n > len(chunks) || !slices.Equal(chunks[i:again], chunks[again:again+n]) {
				continue
			}
			begin, end := 0, 0
			for j, c := range chunks[:again+n] {
				if end += int(c.Size); j < i {
					begin = end
				}
			}
			return p.files["share/text"][begin:end]
		}
	}
	t.Fatal("no text found that is cut in the same way again")
	return ""
}
