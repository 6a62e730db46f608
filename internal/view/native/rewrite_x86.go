package native

import (
	"encoding/binary"
	"fmt"
	"sort"

	"golang.org/x/arch/x86/x86asm"
)

// x86 is how amd64 is rewritten. A site's last bytes, from an instruction's
// first byte at least five before the end of the syscall instruction, become a
// jump to the trampoline, which makes the instructions that were there, calls
// the shim, and jumps back.
type x86 struct{}

// pathCallsAMD64 are the calls that the shim makes.
func pathCallsAMD64() []pathCall {
	return []pathCall{
		{2, "open"}, {4, "stat"}, {6, "lstat"}, {21, "access"}, {59, "execve"}, {79, "getcwd"}, {80, "chdir"},
		{81, "fchdir"}, {89, "readlink"}, {137, "statfs"}, {257, "openat"}, {262, "newfstatat"}, {267, "readlinkat"},
		{269, "faccessat"}, {322, "execveat"}, {332, "statx"}, {436, "close_range"}, {439, "faccessat2"},
	}
}

// x86Code is what a sweep over the code found.
type x86Code struct {
	parts   []part
	starts  []uint32          // of each instruction, in order: offset from base
	base    uint64            // address of the first part
	end     uint64            // of the last
	calls   []int             // indices in starts of syscall instructions
	targets map[uint64]origin // what something may jump to, and what
	work    int               // entries of tables that may still be read
}

// origin is what may jump somewhere.
type origin struct {
	what string
	at   uint64
}

// maxWork bounds what hostile code can make the sweep read in tables.
const maxWork = 1 << 24

func (c *x86Code) addr(i int) uint64 { return c.base + uint64(c.starts[i]) }

// bytes returns the code from addr on.
func (c *x86Code) bytes(addr uint64) []byte {
	i := sort.Search(len(c.parts), func(i int) bool { return c.parts[i].addr > addr })
	if i == 0 || addr-c.parts[i-1].addr >= uint64(len(c.parts[i-1].code)) {
		return nil
	}
	return c.parts[i-1].code[addr-c.parts[i-1].addr:]
}

// sweep decodes all code from end to end and collects where it jumps to. A
// table of addresses or distances counts as one wherever code or data names its
// beginning, so that targets has too much in it rather than too little.
func (x86) sweep(p *program) (*x86Code, error) {
	parts, err := p.parts()
	if err != nil {
		return nil, err
	}
	last := parts[len(parts)-1]
	c := &x86Code{parts: parts, base: parts[0].addr, end: last.addr + uint64(len(last.code)), targets: map[uint64]origin{}, work: maxWork}
	if c.end-c.base >= 1<<32 {
		return nil, fmt.Errorf("%w: its code is too far apart", ErrUnproven)
	}
	for _, s := range parts {
		if err := c.sweepPart(p, s); err != nil {
			return nil, err
		}
	}
	p.pointers(func(addr uint64) {
		if c.base <= addr && addr < c.end {
			c.targets[addr] = origin{what: "a word of data"}
		}
	})
	for _, f := range p.functions() {
		// glibc's __restore_rt begins, for the unwinder, one byte early.
		if b := c.bytes(f); b != nil && !c.boundary(f) && !c.boundary(f+1) {
			return nil, fmt.Errorf("%w: function at %#x is in the middle of an instruction", ErrUnproven, f)
		}
		c.targets[f] = origin{what: "a function"}
	}
	return c, nil
}

// boundary reports whether an instruction begins at addr.
func (c *x86Code) boundary(addr uint64) bool {
	i := sort.Search(len(c.starts), func(i int) bool { return c.addr(i) >= addr })
	return i < len(c.starts) && c.addr(i) == addr
}

func (c *x86Code) sweepPart(p *program, s part) error {
	for off := 0; off < len(s.code); {
		at, b := s.addr+uint64(off), s.code[off:]
		n, inst, ok := decodeX86(b)
		if !ok {
			return fmt.Errorf("%w: no instruction at %#x: % x", ErrUnproven, at, b[:min(len(b), 8)])
		}
		if n == 2 && b[0] == 0x0f && b[1] == 0x05 {
			c.calls = append(c.calls, len(c.starts))
		}
		c.starts = append(c.starts, uint32(at-c.base))
		off += n
		for _, a := range inst.Args {
			switch a := a.(type) {
			case x86asm.Rel:
				c.targets[at+uint64(n)+uint64(int64(a))] = origin{"the instruction", at}
			case x86asm.Mem:
				to := uint64(a.Disp)
				if a.Base == x86asm.RIP {
					to += at + uint64(n)
				} else if !p.image.FixedAddress() {
					continue
				}
				if err := c.reference(p, to, at); err != nil {
					return err
				}
			case x86asm.Imm:
				if !p.image.FixedAddress() { // else it may be an address
					continue
				}
				if err := c.reference(p, uint64(a), at); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// reference notes what the instruction at from names: code, or perhaps a table
// of distances to code.
func (c *x86Code) reference(p *program, addr, from uint64) error {
	if c.base <= addr && addr < c.end {
		c.targets[addr] = origin{"an address in the instruction", from}
		return nil
	}
	for at := addr; c.work > 0; at += 4 {
		b := p.image.Bytes(at, 4)
		if b == nil {
			return nil
		}
		to := addr + uint64(int64(int32(binary.LittleEndian.Uint32(b))))
		if to < c.base || to >= c.end {
			return nil
		}
		c.targets[to] = origin{"a table", addr}
		c.work--
	}
	return fmt.Errorf("%w: its tables are too long", ErrUnproven)
}

// sites implements machine.
func (x x86) sites(p *program) ([]Site, []patch, int, error) {
	c, err := x.sweep(p)
	if err != nil {
		return nil, nil, 0, err
	}
	var sites []Site
	var patches []patch
	unknown := 0
	for _, i := range c.calls {
		nr, known := c.number(i)
		name := AnyCall
		if known {
			name = nameOf(pathCallsAMD64(), nr)
		} else if nr, ok := c.guess(i); ok && nameOf(pathCallsAMD64(), nr) == "" {
			unknown++
			continue
		}
		if name == "" {
			continue
		}
		s := Site{Addr: c.addr(i), Call: name}
		t, why := c.take(i)
		if !known && why != "" {
			unknown++
			continue
		}
		t.any = !known
		if s.Why = why; why == "" {
			t.site = len(sites)
			patches = append(patches, t)
		}
		sites = append(sites, s)
	}
	return sites, patches, unknown, nil
}

// maxBack is how many instructions before a syscall instruction are looked at.
const maxBack = 16

// number proves the number of the system call at instruction i: the last
// instruction before it that writes eax does so with a constant, and nothing
// jumps to between the two.
func (c *x86Code) number(i int) (uint32, bool) {
	for j, at := i, c.addr(i); j > 0 && i-j < maxBack; {
		if _, ok := c.targets[at]; ok {
			return 0, false
		}
		j--
		before := c.addr(j)
		n, inst, ok := decodeX86(c.bytes(before))
		if !ok || before+uint64(n) != at || inst.Op == 0 {
			return 0, false
		}
		at = before
		if nr, ok := constant(inst); ok && family(inst.Args[0]) == family(x86asm.EAX) {
			return nr, true
		}
		if !harmless(inst.Op) || writesRAX(inst) {
			return 0, false
		}
	}
	return 0, false
}

// guess says which number a system call probably has that is not proven: what
// the code above it, whether it is run before or not, has put last into the
// register that the number comes from. It serves to leave calls alone that are
// hardly path calls, futex(2) above all.
func (c *x86Code) guess(i int) (nr uint32, ok bool) {
	const far = 256
	from := family(x86asm.EAX)
	for j := i - 1; j >= 0 && i-j < far; j-- {
		n, inst, ok := decodeX86(c.bytes(c.addr(j)))
		if !ok || c.addr(j)+uint64(n) != c.addr(j+1) || inst.Op == x86asm.RET || c.targets[c.addr(j+1)].what == "a function" {
			return 0, false
		}
		if family(inst.Args[0]) != from || inst.Op == x86asm.CMP || inst.Op == x86asm.TEST || inst.Op == x86asm.PUSH {
			continue
		}
		if nr, ok := constant(inst); ok {
			return nr, true
		}
		if from = family(inst.Args[1]); inst.Op != x86asm.MOV || from < 0 {
			return 0, false
		}
	}
	return 0, false
}

// constant returns what an instruction puts into the register that is its first operand.
func constant(inst x86asm.Inst) (uint32, bool) {
	if family(inst.Args[0]) < 0 {
		return 0, false
	}
	if inst.Op == x86asm.XOR && inst.Args[0] == inst.Args[1] {
		return 0, true
	}
	imm, ok := inst.Args[1].(x86asm.Imm)
	return uint32(imm), ok && inst.Op == x86asm.MOV
}

// family returns which general register an operand is, whether 32 or 64 bits of
// it, or -1.
func family(a x86asm.Arg) int {
	r, ok := a.(x86asm.Reg)
	switch {
	case ok && x86asm.EAX <= r && r <= x86asm.R15L:
		return int(r - x86asm.EAX)
	case ok && x86asm.RAX <= r && r <= x86asm.R15:
		return int(r - x86asm.RAX)
	}
	return -1
}

// harmless reports whether op goes on with the next instruction and changes no
// general register but its first operand, if that is one, and rsp.
func harmless(op x86asm.Op) bool {
	switch op {
	case x86asm.MOV, x86asm.LEA, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.XOR, x86asm.SUB, x86asm.ADD, x86asm.AND,
		x86asm.OR, x86asm.PUSH, x86asm.CMP, x86asm.TEST, x86asm.NOP, x86asm.SHL, x86asm.SHR, x86asm.SAR, x86asm.NEG, x86asm.NOT,
		x86asm.MOVAPS, x86asm.MOVUPS, x86asm.MOVQ, x86asm.MOVD, x86asm.PXOR:
		return true
	}
	return false
}

func writesRAX(inst x86asm.Inst) bool {
	switch inst.Args[0] {
	case x86asm.AL, x86asm.AH, x86asm.AX, x86asm.EAX, x86asm.RAX:
		return inst.Op != x86asm.CMP && inst.Op != x86asm.TEST && inst.Op != x86asm.PUSH
	}
	return false
}

// take plans the change of the syscall instruction i.
func (c *x86Code) take(i int) (t patch, why string) {
	const jump, call = 5, 2
	end := c.addr(i) + call
	for j := i; ; {
		if what, ok := c.targets[c.addr(j)]; ok && c.addr(j) != end && end-c.addr(j) < jump {
			return patch{}, fmt.Sprintf("%s at %#x may jump into what would be replaced", what.what, what.at)
		}
		if end-c.addr(j) >= jump {
			t.from, t.size = c.addr(j), int(end-c.addr(j))
			t.moved = c.bytes(t.from)[:t.size-call]
			return t, ""
		}
		if j--; j < 0 || i-j > maxBack {
			return patch{}, "too little room before it"
		}
		n, inst, ok := decodeX86(c.bytes(c.addr(j)))
		if !ok || c.addr(j)+uint64(n) != c.addr(j+1) || !harmless(inst.Op) || inst.PCRel != 0 || relative(inst) {
			return patch{}, "an instruction before it cannot move"
		}
	}
}

// relative reports whether an instruction depends on where it stands.
func relative(inst x86asm.Inst) bool {
	for _, a := range inst.Args {
		if m, ok := a.(x86asm.Mem); ok && m.Base == x86asm.RIP {
			return true
		}
		if _, ok := a.(x86asm.Rel); ok {
			return true
		}
	}
	return false
}

// What surrounds the call of the shim in a trampoline: a step over the red zone
// and back, by instructions that leave the flags alone.
const (
	stepOver = "\x48\x8d\x64\x24\x80"             // lea -0x80(%rsp),%rsp
	stepBack = "\x48\x8d\xa4\x24\x80\x00\x00\x00" // lea 0x80(%rsp),%rsp
	nearLen  = 5                                  // call and jmp with 32 bits
)

const (
	viaShim  = len(stepOver) + nearLen + len(stepBack) + nearLen // the call of the shim, and the way back
	oneTest  = 8                                                 // of the number
	oneCall  = 2                                                 // syscall
	shortLen = 2                                                 // jmp with 8 bits
)

func (x86) trampolineSize(p patch) int {
	n := len(p.moved) + viaShim
	if p.any {
		n += oneTest*len(pathCallsAMD64()) + shortLen + oneCall + nearLen
	}
	return n
}

func (x x86) trampoline(p patch, addr, entry uint64) ([]byte, error) {
	b := append([]byte(nil), p.moved...)
	if p.any {
		return x.anyCall(b, p, addr, entry)
	}
	return x.viaShim(b, p, addr, entry)
}

// viaShim appends the call of the shim, and the jump back, to a trampoline at addr.
func (x x86) viaShim(b []byte, p patch, addr, entry uint64) ([]byte, error) {
	b = append(b, stepOver...)
	call, err := near(0xe8, addr+uint64(len(b)), entry)
	if err != nil {
		return nil, err
	}
	b = append(append(b, call...), stepBack...)
	back, err := x.branch(addr+uint64(len(b)), p.from+uint64(p.size))
	return append(b, back...), err
}

// anyCall appends to a trampoline what calls the shim if the number in eax is
// one of the path calls, and else makes the system call right here: with the
// stack pointer as it was, which clone, vfork and rt_sigreturn depend on. Only
// rcx serves to compare, which the system call changes anyway; flags stay. The
// jumps are short ones: half of them forward, half of them back.
func (x x86) anyCall(b []byte, p patch, addr, entry uint64) ([]byte, error) {
	calls := pathCallsAMD64()
	half := len(calls) / 2
	shim := len(b) + half*oneTest + shortLen
	test := func(c pathCall) error {
		b = binary.LittleEndian.AppendUint32(append(b, 0x8d, 0x88), -c.nr) // lea -nr(%rax),%ecx
		d := shim - (len(b) + shortLen)
		if d != int(int8(d)) {
			return fmt.Errorf("%w: too many calls to tell apart", ErrUnproven)
		}
		b = append(b, 0xe3, byte(d)) // jrcxz
		return nil
	}
	for _, c := range calls[:half] {
		if err := test(c); err != nil {
			return nil, err
		}
	}
	b = append(b, 0xeb, byte(viaShim)) // jmp over it
	b, err := x.viaShim(b, p, addr, entry)
	if err != nil {
		return nil, err
	}
	for _, c := range calls[half:] {
		if err := test(c); err != nil {
			return nil, err
		}
	}
	b = append(b, 0x0f, 0x05) // syscall
	back, err := x.branch(addr+uint64(len(b)), p.from+uint64(p.size))
	return append(b, back...), err
}

func (x x86) jump(p patch, trampoline uint64) ([]byte, error) {
	b, err := x.branch(p.from, trampoline)
	for len(b) < p.size {
		b = append(b, 0xcc) // int3: nothing comes here
	}
	return b, err
}

func (x86) branch(addr, to uint64) ([]byte, error) { return near(0xe9, addr, to) }

func (x86) arch() string { return "amd64" }

// near is a call or jump with a distance of 32 bits.
func near(op byte, addr, to uint64) ([]byte, error) {
	d := int64(to) - int64(addr) - nearLen
	if d != int64(int32(d)) {
		return nil, fmt.Errorf("%w: %#x is too far from %#x", ErrUnproven, to, addr)
	}
	return binary.LittleEndian.AppendUint32([]byte{op}, uint32(d)), nil
}
