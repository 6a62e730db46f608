package npk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"nipcells/internal/elfimage"
)

// inspect looks at the start of a file for what the kernel would do with it.
func inspect(f io.ReaderAt, e *Entry, buf []byte) (fact, error) {
	none := fact{field: -1}
	head := buf[:min(e.Size, elfimage.HeaderPeek)]
	if n, err := f.ReadAt(head[:min(4, len(head))], 0); n < 4 || string(head[:4]) != "\x7fELF" {
		if err == io.EOF {
			err = errChanged
		}
		return none, err
	}
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		return none, err
	}
	return inspectELF(f, e, head)
}

// inspectELF is inspect for a file that begins like an ELF file.
func inspectELF(f io.ReaderAt, e *Entry, head []byte) (fact, error) {
	out := fact{field: -1}
	kind, machine, interp := sniffELF(f, head)
	out.kind, out.interp = kind, interp
	out.foreign = kind != 0 && (head[4] != 2 || head[5] != 1) // what sniffELF found a header in has these bytes
	if kind == elfExec || kind == elfDyn {
		out.machine = machine
	}
	off, ok := elfimage.InterpField(head, e.Size)
	if !ok {
		if interp && e.Exec {
			return out, errors.New("is an executable that wants a loader of the host: " +
				"bring the loader along and use nip graft, which makes room for its path, or link it statically")
		}
		return out, nil
	}
	field := make([]byte, elfimage.InterpFieldSize)
	if _, err := f.ReadAt(field, off); err != nil {
		return out, err
	}
	name, rest, _ := strings.Cut(string(field), "\x00")
	if strings.Trim(rest, "\x00") != "" {
		return out, errors.New("has bytes behind the path in its interpreter field")
	}
	if name == "" && e.Exec {
		return out, errors.New("has an empty interpreter field: it must hold the path of its loader in the package")
	}
	if name != "" {
		out.field, out.loader = off, name
	}
	return out, nil
}

// Values of elf(5).
const (
	elfExec = 2 // ET_EXEC
	elfDyn  = 3 // ET_DYN

	elfAMD64 = 62
	elfARM64 = 183
)

// sniffELF reads what the kernel looks at before it executes a file: type,
// machine and whether there is a PT_INTERP, of either class and byte order. head
// is the start of f. A kind of 0 is nothing that could run.
func sniffELF(f io.ReaderAt, head []byte) (kind, machine uint16, interp bool) {
	if len(head) < 64 {
		return 0, 0, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == 2 {
		order = binary.BigEndian
	}
	kind, machine = order.Uint16(head[16:]), order.Uint16(head[18:])
	phoff, size, num := int64(order.Uint32(head[28:])), order.Uint16(head[42:]), order.Uint16(head[44:])
	want := uint16(32)
	if head[4] == 2 {
		phoff, size, num = int64(order.Uint64(head[32:])), order.Uint16(head[54:]), order.Uint16(head[56:])
		want = 56
	}
	if size != want || phoff < 0 {
		return kind, machine, false // the kernel refuses such a file
	}
	table := make([]byte, int(size)*int(num))
	n, _ := f.ReadAt(table, phoff) // what is beyond the end is no header
	for table = table[:n-n%int(size)]; len(table) > 0; table = table[size:] {
		if order.Uint32(table) == 3 { // PT_INTERP
			return kind, machine, true
		}
	}
	return kind, machine, false
}

func archName(machine uint16) string {
	switch machine {
	case elfAMD64:
		return "amd64"
	case elfARM64:
		return "arm64"
	}
	return ""
}

func machineName(machine uint16) string {
	if name := archName(machine); name != "" {
		return name
	}
	return fmt.Sprintf("ELF machine %d", machine)
}
