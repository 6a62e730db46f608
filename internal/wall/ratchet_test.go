package wall

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/view/zone"
)

// ratchetMeant says what the rows mean, without BPF.
func ratchetMeant(rows map[string][]guarded, a Arch, held capability.Pledge, d *data) Verdict {
	for _, r := range rows[a.CallName(d.nr)] {
		if !held.Has(r.need) || r.lack != 0 && held.Has(r.lack) {
			continue
		}
		ok := true
		for _, t := range r.tests {
			ok = ok && t.holds(d)
		}
		switch {
		case !ok:
		case r.fault:
			return KillProcess
		case r.verdict == Ask, r.verdict == Errno(0):
			return Allow
		default:
			return r.verdict
		}
	}
	return KillProcess
}

// TestTemplate compares what is cut of a template with what its rows say, and with
// the pledge's filter of a cell: nothing may be allowed that a cell's refuses.
func TestTemplate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	// Calls that a cell's filter answers for the cell's own sake, or a template in its
	// own way.
	own := strings.Fields("close_range dup2 dup3 madvise openat2 prctl exit exit_group rt_sigreturn")
	for _, a := range machines(t) {
		template := RatchetTemplate(a)
		rows := map[string][]guarded{}
		for _, g := range ratchetRows(a) {
			for name := range strings.FieldsSeq(g.names) {
				rows[name] = append(rows[name], g)
			}
		}
		values := map[string][]uint64{}
		for _, c := range a.calls {
			values[c.name] = append(edges(c.name), HeldOption, 0x10, 0x20, 0x40, 0x80, passWord, uint64(passWord)<<32, uint64(passWord+1)<<32, zone.Addr, zone.HowSize, unix.O_PATH, unix.O_WRONLY|unix.O_CREAT, unix.O_TRUNC)
		}
		for _, pledge := range allPledges() {
			for _, extra := range []capability.Pledge{0, ByZone, ByZone | ByPass} {
				f := template.Cut(pledge|extra, KillProcess)
				if len(f) > 4096 {
					t.Fatalf("%s: %d instructions, the kernel takes 4096", a.Name, len(f))
				}
				for _, c := range a.calls {
					values := values[c.name]
					for range 4 {
						d := a.random(rnd, c.nr, values)
						got, err := f.execute(&d)
						if err != nil {
							t.Fatal(err)
						}
						if want := ratchetMeant(rows, a, pledge|extra, &d); got != want {
							t.Fatalf("%s %s: %s%#x: verdict %#x, want %#x", a.Name, pledge, c.name, d.args, got, want)
						}
						was := meant(a, pledge, &d)
						if got == Allow && was != Allow && was != ask && was != Errno(0) && extra == 0 && !slices.Contains(own, c.name) {
							t.Fatalf("%s %s: %s%#x is allowed, in a cell %#x", a.Name, pledge, c.name, d.args, was)
						}
					}
				}
			}
		}
	}
}

// TestRatchetVerdicts says, call by call, what is left after promises are gone.
func TestRatchetVerdicts(t *testing.T) {
	const (
		io    = capability.Stdio
		files = io | capability.Rpath | capability.Wpath
		path  = unix.O_PATH
	)
	tests := []struct {
		held capability.Pledge
		call string
		args [6]uint64
		want Verdict
	}{
		{0, "exit_group", [6]uint64{}, Allow},
		{0, "read", [6]uint64{}, KillProcess},
		{io, "openat", [6]uint64{2: unix.O_RDONLY}, KillProcess},
		{io, "openat", [6]uint64{2: path}, KillProcess},
		{io | capability.WriteOnly, "openat", [6]uint64{2: path | unix.O_WRONLY}, KillProcess},
		{io | capability.WriteOnly, "openat", [6]uint64{2: unix.O_WRONLY}, Allow},
		{io | capability.WriteOnly, "openat", [6]uint64{2: unix.O_RDWR}, KillProcess},
		{io | capability.WriteOnly, "openat", [6]uint64{2: 3}, KillProcess},
		{io | capability.WriteOnly, "openat", [6]uint64{2: unix.O_WRONLY | unix.O_CREAT}, KillProcess},
		{io | capability.WriteOnly, "openat", [6]uint64{2: unix.O_WRONLY | unix.O_TMPFILE}, KillProcess},
		{io | capability.Rpath, "openat", [6]uint64{2: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC}, Allow},
		{io | capability.Rpath, "openat", [6]uint64{2: path}, Allow},
		{io | capability.Rpath, "openat", [6]uint64{2: unix.O_RDONLY | unix.O_TRUNC}, KillProcess},
		{io | capability.Rpath, "openat", [6]uint64{2: unix.O_WRONLY}, KillProcess},
		{io | capability.Rpath, "openat", [6]uint64{2: 3}, KillProcess},
		{io | capability.Rpath | capability.Cpath, "creat", [6]uint64{}, KillProcess},
		{io | capability.Rpath | capability.Cpath, "openat", [6]uint64{2: unix.O_RDONLY | unix.O_CREAT}, Allow},
		{files, "openat", [6]uint64{2: unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC}, Allow},
		{files, "openat", [6]uint64{2: unix.O_RDWR | unix.O_CREAT, 3: 0o4755}, Refuse},
		{files, "fchmod", [6]uint64{}, Allow},
		{files &^ capability.Fattr, "fchmod", [6]uint64{}, KillProcess},
		{io, "unlinkat", [6]uint64{}, KillProcess},
		{io, "truncate", [6]uint64{}, KillProcess},
		{io, "socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, KillProcess},
		{io, "connect", [6]uint64{}, KillProcess},
		{io, "sendto", [6]uint64{3: unix.MSG_NOSIGNAL}, Allow},
		{io | capability.Inet, "sendto", [6]uint64{3: unix.MSG_FASTOPEN | unix.MSG_NOSIGNAL}, Errno(enotsu)},
		{io | capability.Inet, "sendmmsg", [6]uint64{3: unix.MSG_FASTOPEN}, Errno(enotsu)},
		{io, "sendmsg", [6]uint64{2: unix.MSG_FASTOPEN}, Errno(enotsu)},
		{io, "clone", [6]uint64{uint64(unix.SIGCHLD)}, KillProcess},
		{io, "clone", [6]uint64{unix.CLONE_THREAD}, Allow},
		{io, "clone3", [6]uint64{}, Errno(enosys)},
		{io | capability.Proc, "execve", [6]uint64{}, KillProcess},
		{io, "execveat", [6]uint64{0: passWord << 32, 4: (passWord + 1) << 32}, KillProcess},
		{io | ByPass, "execveat", [6]uint64{0: passWord << 32, 4: (passWord + 1) << 32}, Allow},
		{io | ByPass, "execveat", [6]uint64{0: passWord << 32}, KillProcess},
		{io | ByPass, "execve", [6]uint64{0: passWord << 32, 4: (passWord + 1) << 32}, KillProcess},
		{io, "openat2", [6]uint64{2: zone.Addr, 3: zone.HowSize}, Errno(enosys)},
		{io | ByZone, "openat2", [6]uint64{2: zone.Addr, 3: zone.HowSize}, Allow}, // a path descriptor
		{io, "ptrace", [6]uint64{}, Refuse},
		{io, "mount", [6]uint64{}, KillProcess},
		{io, "close", [6]uint64{zone.FD}, Allow}, // a cell's own filter says otherwise
		{io, "prctl", [6]uint64{HeldOption, uint64(capability.Inet)}, Refuse},
		{io | capability.Inet, "prctl", [6]uint64{HeldOption, uint64(capability.Inet)}, Allow},
		{io, "memfd_create", [6]uint64{}, Allow}, // asked in a cell; nothing to execute it with
	}
	for _, a := range machines(t) {
		for _, x := range tests {
			nr, ok := a.Number(x.call)
			if !ok {
				continue
			}
			got, err := RatchetTemplate(a).Cut(x.held, KillProcess).execute(&data{nr: nr, arch: a.audit, args: x.args})
			if err != nil || got != x.want {
				t.Errorf("%s %s: %s%#x: %#x %v, want %#x", a.Name, x.held, x.call, x.args, got, err, x.want)
			}
		}
	}
}

// TestRatchetSlots goes through every slot of the zone: it may be used exactly where
// the open(2) that it stands for may be made.
func TestRatchetSlots(t *testing.T) {
	for _, a := range machines(t) {
		f := flagsOf(a)
		template, b := RatchetTemplate(a), f.Build()
		openat, _ := a.Number("openat")
		openat2, _ := a.Number("openat2")
		for _, pledge := range allPledges() {
			filter := template.Cut(pledge|ByZone, KillProcess)
			for slot := range f.Slots() {
				flags := uint64(b[slot*zone.SlotSize]) | uint64(b[slot*zone.SlotSize+1])<<8 | uint64(b[slot*zone.SlotSize+2])<<16
				by, err := filter.execute(&data{nr: openat2, arch: a.audit, args: [6]uint64{2: zone.Addr + uint64(slot)*zone.SlotSize, 3: zone.HowSize}})
				if err != nil {
					t.Fatal(err)
				}
				plain, err := filter.execute(&data{nr: openat, arch: a.audit, args: [6]uint64{2: flags}})
				if err != nil {
					t.Fatal(err)
				}
				want := plain == Allow || flags&f.Path != 0 && pledge.Has(capability.Stdio)
				if (by == Allow) != want || by != Allow && by != Errno(enosys) {
					t.Fatalf("%s %s: slot %d with flags %#o: %#x, open %#x", a.Name, pledge, slot, flags, by, plain)
				}
			}
		}
	}
}
