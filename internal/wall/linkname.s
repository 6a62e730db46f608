// This file is empty: it lets the compiler accept spawn.go's functions without a body, which are linked to the runtime's.
