package native_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"nipcells/internal/elfimage"
	"nipcells/internal/view/native"
	"nipcells/internal/view/native/shim"
)

// Where a crafted program has what. Pages are those of the largest kernel.
const (
	craftPage = 0x10000
	goodOff   = 1 * craftPage // the stub, a jump, and a program that says PASS
	evilOff   = 2 * craftPage // the program that says PASS, without stub
	craftSize = 3 * craftPage
	craftBase = 0x400000
	interpOff = 0x1000
)

var le = binary.LittleEndian

// phdr is a program header.
type phdr struct {
	typ, flags                  uint32
	off, addr, size, mem, align uint64
}

// crafted is an ELF file with all its headers in the test's hands.
type crafted struct {
	class, data         byte
	typ, machine        uint16
	entry, phoff, shoff uint64
	phentsize, phnum    int // 0: right
	headers             []phdr
	interp              string
	goodCode, evilCode  []byte
	truncated           int // 0: whole
}

func hostMachine() uint16 {
	if runtime.GOARCH == "arm64" {
		return uint16(elfimage.ARM64)
	}
	return uint16(elfimage.AMD64)
}

// payload is a program that says PASS and ends with 0.
func payload() []byte {
	code := []byte("\xb8\x01\x00\x00\x00" + // mov eax, write
		"\xbf\x01\x00\x00\x00" + // mov edi, 1
		"\x48\x8d\x35\x10\x00\x00\x00" + // lea rsi, [rip+16]
		"\xba\x05\x00\x00\x00\x0f\x05" + // mov edx, 5; syscall
		"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05") // mov eax, exit; xor edi, edi; syscall
	if runtime.GOARCH == "arm64" {
		code = nil
		// mov x8, write; mov x0, 1; adr x1, .+24; mov x2, 5; svc; mov x8, exit; mov x0, 0; svc
		for _, op := range []uint32{0xd2800808, 0xd2800020, 0x100000c1, 0xd28000a2, 0xd4000001, 0xd2800ba8, 0xd2800000, 0xd4000001} {
			code = le.AppendUint32(code, op)
		}
	}
	return append(code, "PASS\n"...)
}

// jumpBy is a jump over n bytes behind it.
func jumpBy(n int32) []byte {
	if runtime.GOARCH == "arm64" {
		return le.AppendUint32(nil, 0x14000000|uint32(n/4+1)&0x03ffffff)
	}
	return le.AppendUint32([]byte{0xe9}, uint32(n))
}

// craft makes a static program that begins with the stub.
func craft() *crafted {
	stub := []byte(shim.Stub(runtime.GOARCH))
	return &crafted{class: 2, data: 1, typ: 2, machine: hostMachine(), entry: craftBase + goodOff, phoff: 64,
		headers: []phdr{
			{1, 4, 0, craftBase, 0x800, 0x800, craftPage},
			{1, 5, goodOff, craftBase + goodOff, 0x800, 0x800, craftPage},
		},
		goodCode: append(append(stub, jumpBy(0)...), payload()...), evilCode: payload()}
}

func (c *crafted) bytes() []byte {
	b := make([]byte, craftSize)
	copy(b, "\x7fELF")
	b[4], b[5], b[6] = c.class, c.data, 1
	le.PutUint16(b[16:], c.typ)
	le.PutUint16(b[18:], c.machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], c.entry)
	le.PutUint64(b[32:], c.phoff)
	le.PutUint64(b[40:], c.shoff)
	size, num := 56, len(c.headers)
	if c.phentsize != 0 {
		size = c.phentsize
	}
	if c.phnum != 0 {
		num = c.phnum
	}
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], uint16(size))
	le.PutUint16(b[56:], uint16(num&0xffff))
	for i, h := range c.headers {
		p := b[c.phoff+uint64(i)*56:]
		le.PutUint32(p, h.typ)
		le.PutUint32(p[4:], h.flags)
		for j, v := range []uint64{h.off, h.addr, h.addr, h.size, h.mem, h.align} {
			le.PutUint64(p[8+8*j:], v)
		}
	}
	copy(b[interpOff:], c.interp)
	copy(b[goodOff:], c.goodCode)
	copy(b[evilOff:], c.evilCode)
	if c.truncated > 0 {
		b = b[:c.truncated]
	}
	return b
}

// withInterp adds a PT_INTERP.
func (c *crafted) withInterp(name string) {
	c.interp = name
	c.headers = append(c.headers, phdr{3, 4, interpOff, craftBase + interpOff, uint64(len(name)), uint64(len(name)), 1})
}

const goodLoader = "/root/Cas/ld/good"

func acceptsGood(path string) bool { return path == goodLoader }

func judge(b []byte) error {
	return native.Executable(bytes.NewReader(b), int64(len(b)), acceptsGood)
}

// attempts are changes of a good program, and what is said of each. "" is fine.
func attempts() map[string]struct {
	change func(c *crafted)
	says   string
} {
	type attempt = struct {
		change func(c *crafted)
		says   string
	}
	cover := func(h phdr) func(c *crafted) { return func(c *crafted) { c.headers = append(c.headers, h) } }
	return map[string]attempt{
		"as it is":                {func(c *crafted) {}, ""},
		"position-independent":    {func(c *crafted) { c.typ = 3 }, ""},
		"a loader that is known":  {func(c *crafted) { c.withInterp(goodLoader + "\x00") }, ""},
		"and something behind":    {func(c *crafted) { c.withInterp(goodLoader + "\x00/evil\x00") }, ""},
		"a loader of its own":     {func(c *crafted) { c.withInterp("/root/Cas/ld/evil\x00") }, "loader of its own"},
		"a relative loader":       {func(c *crafted) { c.withInterp("Cas/ld/good\x00") }, "loader of its own"},
		"no name of the loader":   {func(c *crafted) { c.withInterp("\x00\x00") }, "loader of its own"},
		"a short name":            {func(c *crafted) { c.withInterp("\x00") }, "damaged"},
		"a name without end":      {func(c *crafted) { c.withInterp(goodLoader) }, "no end"},
		"a name outside":          {func(c *crafted) { c.withInterp(goodLoader + "\x00"); c.headers[2].off = 1 << 40 }, "damaged"},
		"a name of many bytes":    {func(c *crafted) { c.withInterp(goodLoader + "\x00"); c.headers[2].size = 4097 }, "damaged"},
		"two loaders":             {func(c *crafted) { c.withInterp(goodLoader + "\x00"); c.withInterp("/evil\x00") }, "two loaders"},
		"no stub":                 {func(c *crafted) { c.goodCode = payload() }, "no stub of this version"},
		"behind the stub":         {func(c *crafted) { c.entry += uint64(len(shim.Stub(runtime.GOARCH))) }, "no stub of this version"},
		"stub cut short":          {func(c *crafted) { c.headers[1].size, c.headers[1].mem = 64, 64 }, "outside of its own code"},
		"begins nowhere":          {func(c *crafted) { c.entry = 0 }, "outside of its own code"},
		"stub cannot be executed": {func(c *crafted) { c.headers[1].flags = 4 }, "outside of its own code"},
		"stub can be written":     {func(c *crafted) { c.headers[1].flags = 7 }, "outside of its own code"},
		"stub in zeroed memory":   {func(c *crafted) { c.headers[1].mem = 0x900 }, "not all in the file"},
		"covered":                 {cover(phdr{1, 5, evilOff, craftBase + goodOff, 0x800, 0x800, craftPage}), "overlap"},
		"covered by its page":     {cover(phdr{1, 5, evilOff + 0x800, craftBase + goodOff + 0x800, 0x100, 0x100, 4096}), "another segment over its stub"},
		"covered by no bytes":     {cover(phdr{1, 5, evilOff + 0x800, craftBase + goodOff + 0x800, 0, 0x100, 4096}), "another segment over its stub"},
		"covered from below":      {func(c *crafted) { c.headers[0].mem = goodOff + 1 }, "overlap"},
		"covered by rounding":     {func(c *crafted) { c.headers[1].addr += 0x800; c.headers[1].off += 0x800; c.headers[1].align = 4096 }, "outside of its own code"},
		"out of order":            {func(c *crafted) { c.headers[0], c.headers[1] = c.headers[1], c.headers[0] }, "out of order"},
		"no jump":                 {func(c *crafted) { copy(c.goodCode[len(shim.Stub(runtime.GOARCH)):], bytes.Repeat([]byte{0x90}, 8)) }, "no jump"},
		"a jump to nowhere":       {func(c *crafted) { copy(c.goodCode[len(shim.Stub(runtime.GOARCH)):], jumpBy(1<<20)) }, "no jump"},
		"a jump to itself":        {func(c *crafted) { copy(c.goodCode[len(shim.Stub(runtime.GOARCH)):], jumpBy(-8)) }, "no jump"},
		"32-bit code":             {func(c *crafted) { c.machine = 3 }, "32-bit"},
		"32-bit ARM":              {func(c *crafted) { c.machine = 40 }, "32-bit"},
		"of 32 bits by its class": {func(c *crafted) { c.class = 1 }, "32-bit"},
		"class unknown":           {func(c *crafted) { c.class = 3 }, "damaged"},
		"big-endian":              {func(c *crafted) { c.data = 2 }, "damaged"},
		"another machine":         {func(c *crafted) { c.machine = 243 }, "another machine"},
		"the other machine":       {func(c *crafted) { c.machine ^= uint16(elfimage.AMD64 ^ elfimage.ARM64) }, "another machine"},
		"readable as x32":         {func(c *crafted) { c.shoff = 2<<32 | 32<<16 }, "32-bit"},
		"an object file":          {func(c *crafted) { c.typ = 1 }, "no program"},
		"a core":                  {func(c *crafted) { c.typ = 4 }, "no program"},
		"program headers' size":   {func(c *crafted) { c.phentsize = 55 }, "damaged"},
		"no program headers":      {func(c *crafted) { c.phnum = 0x10000 }, "damaged"},
		"many program headers":    {func(c *crafted) { c.phnum = 0xffff }, "damaged"},
		"program headers outside": {func(c *crafted) { c.phnum = 1000; c.truncated = 0x800 }, "damaged"},
		"nothing loaded":          {func(c *crafted) { c.headers = []phdr{{4, 4, 0, 0, 0, 0, 1}} }, "nothing of it is loaded"},
		"first segment empty":     {func(c *crafted) { c.headers[0].size = 0 }, "nothing of it is loaded"},
		"over the zone":           {func(c *crafted) { c.headers[0].addr = 0x10000 }, "where the zone must be"},
		"up to the zone":          {func(c *crafted) { c.headers[0].addr = 0; c.headers[0].mem = 0x10001 }, "where the zone must be"},
		"over it, with loader":    {func(c *crafted) { c.headers[0].addr = 0x10000; c.withInterp(goodLoader + "\x00") }, "where the zone must be"},
		"alignment no power":      {func(c *crafted) { c.headers[1].align = 3 }, "alignment"},
		"alignment of a giant":    {func(c *crafted) { c.headers[1].align = 1 << 40 }, "alignment"},
		"not aligned":             {func(c *crafted) { c.headers[0].addr += 0x10 }, "alignment"},
		"too large":               {func(c *crafted) { c.headers[0].mem = 1 << 60 }, "too large"},
		"more bytes than memory":  {func(c *crafted) { c.headers[0].mem = 0x100 }, "too large"},
		"not in the file":         {func(c *crafted) { c.headers[1].size, c.headers[1].mem = craftSize, craftSize }, "not in the file"},
		"ends in its header":      {func(c *crafted) { c.truncated = 58 }, "ends in its header"},
	}
}

// TestExecutable: each way to be started without the stub is refused with the
// words for it, and what the kernel really starts is none of what is accepted.
func TestExecutable(t *testing.T) {
	said := 0
	for name, a := range attempts() {
		c := craft()
		a.change(c)
		b := c.bytes()
		err := judge(b)
		if (err == nil) != (a.says == "") || err != nil && !strings.Contains(err.Error(), a.says) {
			t.Errorf("%s: %v, want %q", name, err, a.says)
		}
		said += kernelAgrees(t, name, b, err)
	}
	if said < 4 {
		t.Errorf("only %d of the programs run without the stub: the test proves little", said)
	}
	for name, text := range map[string]string{"a script": "#!/bin/sh\n", "text": "hello", "nothing": "", "the start of a magic number": "\x7fEL"} {
		if err := judge([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := craft()
	good.goodCode = payload()
	if err := native.Executable(bytes.NewReader(good.bytes()), 0, acceptsGood); err == nil {
		t.Error("a program of which the caller says that it is empty is accepted")
	}
	failing := errorReader{}
	if err := native.Executable(failing, 100, acceptsGood); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

type errorReader struct{}

func (errorReader) ReadAt([]byte, int64) (int, error) { return 0, os.ErrPermission }

// kernelAgrees runs a program outside of any cell, where the stub ends it with
// 125. It returns 1 if the program got past that; then it must have been refused.
func kernelAgrees(t *testing.T, name string, b []byte, verdict error) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path).Output()
	if strings.Contains(string(out), "PASS") {
		if verdict == nil {
			t.Errorf("%s: accepted, but runs without the stub", name)
		}
		return 1
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 125 {
		return 0
	}
	if verdict == nil && !strings.Contains(string(b[interpOff:interpOff+16]), "Cas") {
		t.Errorf("%s: accepted, but ends with %v", name, err)
	}
	return 0
}

// TestExecutableAgainstKernel changes numbers in the headers of a good program
// at random. Whatever the kernel then runs without the stub is refused.
func TestExecutableAgainstKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	places := []uint64{0, 1, 4096, craftPage, goodOff, evilOff, goodOff + 0x800, evilOff + 0x800, craftBase, craftBase + goodOff, craftBase + evilOff,
		craftBase + goodOff + 0x800, craftBase + goodOff - 4096, 0x100, 0x800, 0x1000, 0x10000, 0x7fff00000000, 1 << 47, ^uint64(0)}
	pick := func() uint64 { return places[r.IntN(len(places))] }
	ran, accepted := 0, 0
	for range 600 {
		c := craft()
		c.headers = append(c.headers, phdr{1, 5, evilOff, craftBase + evilOff, 0x800, 0x800, 4096})
		for range 1 + r.IntN(4) {
			h := &c.headers[r.IntN(len(c.headers))]
			switch r.IntN(9) {
			case 0:
				c.entry = pick()
			case 1:
				c.typ = uint16(2 + r.IntN(2))
			case 2:
				h.typ = uint32(1 + r.IntN(3))
			case 3:
				h.flags = uint32(r.IntN(8))
			case 4:
				h.off = pick()
			case 5:
				h.addr = pick()
			case 6:
				h.size = pick()
				h.mem = max(h.mem, h.size)
			case 7:
				h.mem = pick()
			case 8:
				i, j := r.IntN(len(c.headers)), r.IntN(len(c.headers))
				c.headers[i], c.headers[j] = c.headers[j], c.headers[i]
			}
		}
		b := c.bytes()
		err := native.Executable(bytes.NewReader(b), int64(len(b)), func(string) bool { return false })
		if err == nil {
			accepted++
		}
		ran += kernelRuns(t, b, err)
	}
	t.Logf("%d accepted, %d run without the stub", accepted, ran)
	if accepted < 10 || ran < 10 {
		t.Errorf("%d accepted, %d run without the stub: the test proves little", accepted, ran)
	}
}

// kernelRuns is kernelAgrees for programs that may end in any way but one.
func kernelRuns(t *testing.T, b []byte, verdict error) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command(path).Output() // ends by a signal, or is not started
	if !strings.Contains(string(out), "PASS") {
		return 0
	}
	if verdict == nil {
		t.Errorf("accepted, but runs without the stub: %x", b[:64+3*56])
	}
	return 1
}

// FuzzExecutable: whatever the headers of a file say, what is accepted and has
// no loader begins with the stub in a model of how the kernel maps files.
func FuzzExecutable(f *testing.F) {
	const headers = 64 + 6*56
	for _, a := range attempts() {
		c := craft()
		a.change(c)
		b := c.bytes()
		f.Add(b[:min(len(b), headers)])
	}
	whole := craft().bytes()
	f.Fuzz(func(t *testing.T, head []byte) {
		b := bytes.Clone(whole)
		copy(b[:headers], head)
		asked := false
		err := native.Executable(bytes.NewReader(b), int64(len(b)), func(string) bool { asked = true; return true })
		native.ShimmedFile(bytes.NewReader(b), int64(len(b)))
		if err != nil || asked || !bytes.HasPrefix(b, []byte("\x7fELF")) {
			return
		}
		code, flags := model(b, len(shim.Stub(runtime.GOARCH)))
		if string(code) != shim.Stub(runtime.GOARCH) || flags&3 != 1 {
			t.Fatalf("accepted, but begins with %x, flags %d", code, flags)
		}
	})
}

// model maps a file as load_elf_binary does, page by page, the later segment
// over the earlier, and returns n bytes at the entry and the flags of the first.
func model(b []byte, n int) (code []byte, flags uint32) {
	const page = 4096
	entry, phoff := le.Uint64(b[24:]), le.Uint64(b[32:])
	code = make([]byte, n)
	for i := range uint64(le.Uint16(b[56:])) {
		p := b[phoff+i*56:]
		if le.Uint32(p) != 1 {
			continue
		}
		off, addr, size, mem := le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[32:]), le.Uint64(p[40:])
		for j := range code {
			at := entry + uint64(j)
			from := addr &^ (page - 1)
			inFile, inMem := (addr+size+page-1)&^(page-1), (addr+mem+page-1)&^(page-1)
			switch {
			case at >= from && at < inFile && size > 0:
				code[j] = 0
				if place := off + at - addr; (at < addr+size || mem == size) && place < uint64(len(b)) {
					code[j] = b[place]
				}
			case at >= from && at < inMem && mem > size:
				code[j] = 0
			default:
				continue
			}
			if j == 0 {
				flags = le.Uint32(p[4:])
			}
		}
	}
	return code, flags
}
