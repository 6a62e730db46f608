package zone

import _ "embed" // the slots

//go:embed slots_amd64.bin
var hostSlots []byte
