package zone

// FchdirMark is the second argument, which the kernel ignores, of an fchdir(2)
// by the shim: it says that the program has no other idea of its directory.
// Exact is temporary.
const Exact RootFlags = 2

const FchdirMark = 0x6e69_7063
