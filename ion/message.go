package ion

import "encoding/binary"

// Bytes of a message (ABI.md, Messages): a header, where the message grants a buffer its
// grant, and what the schema of its kind says.
const (
	MessageHeader = 8 // bytes: u16 size, u16 kind, u8 version, u8 flags, u16 zero
	GrantSize     = 8 // bytes: u32 buffer, u32 length

	flagGrant = 1
)

// PutHeader begins a message in m: all of m is the message, with the header. Kind and
// version are the schema's.
func PutHeader(m []byte, kind uint16, version uint8) {
	le := binary.LittleEndian
	_ = m[MessageHeader-1]
	le.PutUint16(m[0:], uint16(len(m)))
	le.PutUint16(m[2:], kind)
	m[4], m[5] = version, 0
	le.PutUint16(m[6:], 0)
}

// Kind returns kind and version of a message that was received.
func Kind(m []byte) (kind uint16, version uint8) {
	return binary.LittleEndian.Uint16(m[2:]), m[4]
}

// Size is how many bytes a message in a slot has, with its header.
func Size(m []byte) int { return int(binary.LittleEndian.Uint16(m)) }

// outgoing says what is wrong with a message of ours; grants are put into it later.
func outgoing(m []byte, slotSize uint64) error {
	if len(m) < MessageHeader || uint64(len(m)) > slotSize || Size(m) != len(m) || m[5]|m[6]|m[7] != 0 {
		return ErrMessage
	}
	return nil
}

// incoming checks the header in h, which is a private copy of a slot's beginning, and
// returns the message's size. What is wrong is said in words.
func incoming(h []byte, slotSize uint64, arena bool) (size int, wrong string) {
	size = int(binary.LittleEndian.Uint16(h))
	switch flags := h[5]; {
	case size < MessageHeader || uint64(size) > slotSize:
		return 0, "a message's size"
	case h[6]|h[7] != 0 || flags&^flagGrant != 0:
		return 0, "a message's flags"
	case flags == 0:
		return size, ""
	case !arena || size < MessageHeader+GrantSize:
		return 0, "a grant without an arena, or without room for it"
	}
	return size, ""
}
