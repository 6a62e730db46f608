package zone

import _ "embed" // the slots

//go:embed slots_arm64.bin
var hostSlots []byte
