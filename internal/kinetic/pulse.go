package kinetic

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pulse is how a meter shows another process, the guard of its cell, that it lives: a
// counter in shared memory that each step moves, and a word that says whether it dozes.
// Who watches sleeps while it does, and is woken by an eventfd. Both processes keep it for
// as long as they live.
type Pulse struct {
	memory *os.File // memfd
	event  *os.File
	page   []byte
}

// NewPulse makes one. The two files are the watcher's.
func NewPulse() (*Pulse, error) {
	memory, err := unix.MemfdCreate("pulse", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err != nil {
		return nil, fmt.Errorf("make a pulse: %w", err)
	}
	f := os.NewFile(uintptr(memory), "pulse")
	if err := unix.Ftruncate(memory, int64(os.Getpagesize())); err != nil {
		f.Close()
		return nil, fmt.Errorf("make a pulse: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make a pulse: %w", err)
	}
	return OpenPulse(f, os.NewFile(uintptr(event), "pulse's event"))
}

// OpenPulse is the watcher's side of one. Both files are the pulse's from then on.
func OpenPulse(memory, event *os.File) (*Pulse, error) {
	page, err := unix.Mmap(int(memory.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		memory.Close()
		event.Close()
		return nil, fmt.Errorf("map a pulse: %w", err)
	}
	return &Pulse{memory, event, page}, nil
}

// Files are what the other process needs to open it: memory and event.
func (p *Pulse) Files() (memory, event *os.File) { return p.memory, p.event }

// words are the counter of beats, and whether there are any.
func (p *Pulse) words() *[2]atomic.Uint32 { return (*[2]atomic.Uint32)(unsafe.Pointer(&p.page[0])) }

// rest says that no beats come until wake.
func (p *Pulse) rest() {
	if p != nil {
		p.words()[1].Store(0)
	}
}

// wake says that there are beats again, and is one.
func (p *Pulse) wake() {
	if p == nil {
		return
	}
	p.words()[0].Add(1)
	if p.words()[1].Swap(1) == 0 {
		_, _ = unix.Write(int(p.event.Fd()), []byte{1, 0, 0, 0, 0, 0, 0, 0}) // an eventfd takes that
	}
}

// Beats is how often it has beaten, and resting whether it beats at all.
func (p *Pulse) Beats() (n uint32, resting bool) {
	return p.words()[0].Load(), p.words()[1].Load() == 0
}

// Forget takes what woke the watcher off the event.
func (p *Pulse) Forget() {
	var b [8]byte
	_, _ = unix.Read(int(p.event.Fd()), b[:]) // EAGAIN: there was nothing
}
