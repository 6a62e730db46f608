package elfimage

import (
	"testing"
)

func seeds(f *testing.F) {
	f.Helper()
	for _, s := range []sample{{AMD64, 2, 0}, {ARM64, 1, 0}, {AMD64, 1, 56}} {
		f.Add(s.build(), "$ORIGIN/../lib", "lib64/ld.so")
	}
	b := sample{machine: AMD64, spare: 1}.build()
	le.PutUint64(b[40:], 0) // no section headers
	le.PutUint16(b[60:], 0)
	f.Add(b, "x", "")
	b = sample{machine: AMD64, spare: 2}.build() // the reserved section says something
	le.PutUint64(b[0x1200:], 5<<32)
	le.PutUint64(b[0x1200+24:], 1<<63)
	f.Add(b, "x", "y")
	b = sample{machine: AMD64, spare: 2}.build() // the interpreter field lies over the dynamic section
	le.PutUint64(b[64+phdrSize+8:], sampleText)
	le.PutUint64(b[64+phdrSize+32:], InterpFieldSize)
	f.Add(b, "$ORIGIN", "lib64/ld.so")
}

// FuzzParse reads whatever bytes: no panic, and nothing outside the file.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte, _, _ string) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		_, _, _, _, _ = m.Needed(), m.Soname(), m.Runpath(), m.Interp(), m.Imports()
		_, _ = m.StaticPIE(), m.Bytes(m.Entry(), 16)
		_, _ = InterpField(b, int64(len(b)))
	})
}

// FuzzApply edits whatever parses: what is not refused is right.
func FuzzApply(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte, runpath, interp string) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		original := append([]byte(nil), b...)
		e := Edit{Runpath: runpath, Interp: interp}
		out, err := e.Apply(m)
		if string(b) != string(original) {
			t.Fatal("Apply changed its input")
		}
		if err == nil {
			checkEdited(t, b, out, e)
		}
	})
}
