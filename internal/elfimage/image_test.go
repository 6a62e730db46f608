package elfimage

import (
	"errors"
	"os"
	"slices"
	"testing"
)

// sample is a small image with everything that Parse looks at: two loadable
// segments, the interpreter, notes, a dynamic section with one spare entry,
// section headers. It is no program.
type sample struct {
	machine Machine
	spare   int // free entries in the dynamic section, DT_NULL included
	phdrPad int // bytes between the program headers and the interpreter
}

const (
	sampleText = 0x1000 // offset and address of the writable segment, with the dynamic section
	sampleStr  = 0x800  // of the string table
)

func (s sample) build() []byte {
	b := make([]byte, 0x1400)
	copy(b, "\x7fELF\x02\x01\x01")
	put := func(off int, v ...uint64) {
		for i, x := range v {
			le.PutUint64(b[off+8*i:], x)
		}
	}
	le.PutUint16(b[16:], typeDyn)
	le.PutUint16(b[18:], uint16(s.machine))
	le.PutUint32(b[20:], 1)
	put(24, 0x900, 64, 0x1200)
	le.PutUint16(b[52:], ehdrSize)
	le.PutUint16(b[54:], phdrSize)
	le.PutUint16(b[58:], shdrSize)
	interp := uint64(64 + 6*phdrSize + s.phdrPad)
	note := interp + 32
	strs := "\x00libone.so.1\x00libtwo.so.2\x00libself.so\x00/usr/lib/old\x00"
	dyn := []uint64{dtNeeded, 1, dtNeeded, 13, dtSoname, 25, dtRpath, 36, dtStrtab, sampleStr, dtStrSz, uint64(len(strs))}
	dynSize := uint64(len(dyn)*8 + s.spare*dynSize)
	segs := [][]uint64{ // type|flags<<32, off, addr, paddr, size, mem, align
		{ptPhdr | 4<<32, 64, 64, 64, 6 * phdrSize, 6 * phdrSize, 8},
		{ptInterp | 4<<32, interp, interp, interp, 32, 32, 1},
		{ptLoad | 5<<32, 0, 0, 0, 0xa00, 0xa00, 0x1000},
		{ptLoad | 6<<32, sampleText, sampleText, sampleText, 0x200, 0x600, 0x1000},
		{ptDynamic | 6<<32, sampleText, sampleText, sampleText, dynSize, dynSize, 8},
		{ptNote | 4<<32, note, note, note, 36, 36, 4},
	}
	le.PutUint16(b[56:], uint16(len(segs)))
	for i, g := range segs {
		put(64+i*phdrSize, g...)
	}
	copy(b[interp:], "/lib64/ld-linux-x86-64.so.2")
	copy(b[note:], "note: twenty-four bytes and twelve")
	copy(b[sampleStr:], strs)
	put(sampleText, dyn...)
	sections := [][]uint64{ // name|type<<32, flags, addr, off, size
		{0, 0, 0, 0, 0},
		{1 << 32, shfAlloc, interp, interp, 32},
		{7 << 32, shfAlloc, note, note, 36},
		{shtStrtab << 32, shfAlloc, sampleStr, sampleStr, uint64(len(strs))},
		{shtDynamic << 32, shfAlloc | 1, sampleText, sampleText, dynSize},
		{shtNobits << 32, shfAlloc | 1, sampleText + 0x200, sampleText + 0x200, 0x400},
	}
	le.PutUint16(b[60:], uint16(len(sections)))
	for i, c := range sections {
		put(0x1200+i*shdrSize, c...)
	}
	return b
}

func TestParseSample(t *testing.T) {
	m, err := Parse(sample{machine: ARM64, spare: 1}.build())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Needed(), []string{"libone.so.1", "libtwo.so.2"}; !slices.Equal(got, want) {
		t.Errorf("Needed() = %q, want %q", got, want)
	}
	if m.Soname() != "libself.so" || m.Runpath() != "/usr/lib/old" || m.Interp() != "/lib64/ld-linux-x86-64.so.2" {
		t.Errorf("names are %q, %q, %q", m.Soname(), m.Runpath(), m.Interp())
	}
	if m.Machine().String() != "arm64" || m.FixedAddress() || !m.Dynamic() || m.StaticPIE() || m.Entry() != 0x900 {
		t.Errorf("header is %v %v %v %v %#x", m.Machine(), m.FixedAddress(), m.Dynamic(), m.StaticPIE(), m.Entry())
	}
	if m.Bytes(sampleText+0x1f8, 16) != nil || len(m.Bytes(sampleText+0x1f8, 8)) != 8 {
		t.Error("Bytes does not end with the file's part of a segment")
	}
}

func TestParseRefuses(t *testing.T) {
	at := func(seg, field int) int { return 64 + seg*phdrSize + 8*field }
	tests := []struct {
		name  string
		want  error
		spoil func(b []byte)
	}{
		{"no magic", ErrNotELF, func(b []byte) { b[0] = 0 }},
		{"32 bits", ErrUnsupported, func(b []byte) { b[4] = 1 }},
		{"big-endian", ErrUnsupported, func(b []byte) { b[5] = 2 }},
		{"relocatable", ErrUnsupported, func(b []byte) { b[16] = 1 }},
		{"other machine", ErrUnsupported, func(b []byte) { b[18] = 3 }},
		{"headers outside", ErrMalformed, func(b []byte) { le.PutUint64(b[32:], 0x1380) }},
		{"headers far outside", ErrMalformed, func(b []byte) { le.PutUint64(b[32:], ^uint64(0)) }},
		{"no headers", ErrMalformed, func(b []byte) { le.PutUint16(b[56:], 0) }},
		{"odd header size", ErrMalformed, func(b []byte) { b[54]++ }},
		{"load outside", ErrMalformed, func(b []byte) { le.PutUint64(b[at(3, 4):], 0x10000) }},
		{"load wraps", ErrMalformed, func(b []byte) { le.PutUint64(b[at(3, 1):], ^uint64(0xfff)) }},
		{"load larger in file", ErrMalformed, func(b []byte) { le.PutUint64(b[at(3, 5):], 1) }},
		{"loads overlap", ErrMalformed, func(b []byte) { le.PutUint64(b[at(2, 5):], 0x2000) }},
		{"load unaligned", ErrMalformed, func(b []byte) { le.PutUint64(b[at(3, 2):], 0x1800) }},
		{"odd alignment", ErrMalformed, func(b []byte) { le.PutUint64(b[at(3, 6):], 0x1001) }},
		{"two interpreters", ErrMalformed, func(b []byte) { b[at(5, 0)] = ptInterp }},
		{"interpreter outside", ErrMalformed, func(b []byte) { le.PutUint64(b[at(1, 4):], 0x10000) }},
		{"dynamic elsewhere", ErrMalformed, func(b []byte) { le.PutUint64(b[at(4, 1):], 0x100) }},
		{"dynamic without end", ErrMalformed, func(b []byte) { le.PutUint64(b[at(4, 4):], 4*dynSize) }},
		{"strings outside", ErrMalformed, func(b []byte) { le.PutUint64(b[sampleText+11*8:], 1<<40) }},
		{"name outside", ErrMalformed, func(b []byte) { le.PutUint64(b[sampleText+8:], 1<<40) }},
		{"no strings", ErrMalformed, func(b []byte) { le.PutUint64(b[sampleText+8*8:], 0x7000) }},
		{"sections outside", ErrMalformed, func(b []byte) { le.PutUint64(b[40:], 0x1390) }},
		{"section outside", ErrMalformed, func(b []byte) { le.PutUint64(b[0x1200+shdrSize+32:], 1<<40) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := sample{machine: AMD64, spare: 2}.build()
			if _, err := Parse(b); err != nil {
				t.Fatalf("the sample itself: %v", err)
			}
			test.spoil(b)
			if _, err := Parse(b); !errors.Is(err, test.want) {
				t.Errorf("Parse() = %v, want %v", err, test.want)
			}
		})
	}
	const sectionsEnd = 0x1200 + 6*shdrSize
	b := sample{machine: AMD64, spare: 2}.build()
	for n := range sectionsEnd {
		if _, err := Parse(b[:n]); err == nil {
			t.Fatalf("a file cut off at %d was taken", n)
		}
	}
}

// TestImports compares with what every C program on this machine must use.
func TestImports(t *testing.T) {
	b, err := os.ReadFile("/usr/bin/env")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	names := m.Imports()
	for _, want := range []string{"execvp", "setlocale"} {
		if !slices.Contains(names, want) {
			t.Errorf("Imports() of env has no %s: %q", want, names)
		}
	}
	if slices.Contains(names, "connect") {
		t.Error("Imports() of env has connect")
	}
}
