package wall

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pass is what lets the launching child execute the program when the pledge
// permits no execve: 192 random bits that it puts into the three argument
// registers which execve(2) does not use. The filter allows an execve that
// carries them. The kernel clears the registers when the program begins, and
// nobody but root can read a filter, so the program cannot show the pass again.
type pass [3]uint64

// The words that stand for the halves of the pass in a filter that is not armed
// yet. passArgs is the first of the registers.
const (
	passWord = 0x4e495000
	passArgs = 3
)

// presented are the tests that an execve with the pass meets.
func presented() []test {
	var t []test
	for i := range uint32(3) {
		arg := uint8(passArgs + i)
		t = append(t, is(arg, passWord+2*i), high(is(arg, passWord+2*i+1)))
	}
	return t
}

// newPass draws a pass from the kernel's random numbers.
func newPass() (p pass, err error) {
	if _, err := unix.Getrandom(unsafe.Slice((*byte)(unsafe.Pointer(&p)), unsafe.Sizeof(p)), 0); err != nil {
		return p, fmt.Errorf("draw random numbers: %w", err)
	}
	return p, nil
}

// arm returns filter with the pass in the place of its words.
func (p pass) arm(filter []byte) []byte {
	armed := append([]byte(nil), filter...)
	for i := 0; i+InstructionSize <= len(armed); i += InstructionSize {
		in := armed[i : i+InstructionSize]
		word := binary.LittleEndian.Uint32(in[4:]) - passWord
		if binary.LittleEndian.Uint16(in) == opJeq && word < 6 {
			binary.LittleEndian.PutUint32(in[4:], uint32(p[word/2]>>(32*(word%2))))
		}
	}
	return armed
}
