package membrane

import (
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// addForks has the calls that make processes and threads admitted.
func (m *Membrane) addForks(table map[uint32]handler) {
	for _, name := range wall.Forks {
		if nr, ok := m.config.Arch.Number(name); ok {
			table[nr] = fork
		}
	}
}

// fork lets the call go on if the cell may make it, which the registers alone decide, and
// have one more. Who may not have one is asked about once more a little later, without
// holding up others, and then refused as the kernel refuses (EAGAIN, fork(2)).
func fork(m *Membrane, n *notification) (int64, unix.Errno) {
	if by, _ := wall.Permitting(m.config.Arch, m.config.Pledge, n.nr, n.args); by == 0 {
		m.fault(n)
		return 0, later
	}
	admitted, wait := m.config.Admit(int(n.pid), false)
	if admitted {
		m.proceed(n)
		return 0, later
	}
	call := *n
	time.AfterFunc(wait, func() {
		if admitted, _ := m.config.Admit(int(call.pid), true); admitted {
			m.proceed(&call)
		} else {
			m.reply(&call, 0, unix.EAGAIN)
		}
	})
	return 0, later
}
