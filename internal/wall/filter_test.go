package wall

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// TestNames: a name that no machine knows is a slip, and what it was to permit
// or refuse goes wrong silently.
func TestNames(t *testing.T) {
	for _, p := range promises() {
		for _, r := range p.rows {
			for name := range strings.FieldsSeq(r.names) {
				known := false
				for _, a := range machines(t) {
					_, ok := a.Number(name)
					known = known || ok
				}
				if !known {
					t.Errorf("promise %s: no machine has a call %s", p.bit, name)
				}
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, a := range machines(t) {
		for i, c := range a.calls {
			if i > 0 && a.calls[i-1].name >= c.name {
				t.Fatalf("%s: %s is out of order", a.Name, c.name)
			}
			if nr, ok := a.Number(c.name); !ok || nr != c.nr || a.CallName(nr) != c.name {
				t.Errorf("%s: %s is %d, %t, and %d is %s", a.Name, c.name, nr, ok, nr, a.CallName(nr))
			}
		}
		if _, ok := a.Number("nonesuch"); ok {
			t.Errorf("%s has a call nonesuch", a.Name)
		}
	}
	x86 := machines(t)[0]
	if got := x86.CallName(0x40000000 + 520); got != "x32 call 520" {
		t.Errorf("x32 execve is called %q", got)
	}
	if _, err := ArchOf("riscv64"); err == nil {
		t.Error("there are filters for riscv64")
	}
}

// dangerous calls are in no promise: whatever their arguments, they are neither
// allowed nor asked.
const dangerous = `mount umount2 pivot_root chroot fsopen fsmount fsconfig fspick move_mount open_tree mount_setattr statmount
	listmount swapon swapoff reboot init_module finit_module delete_module kexec_load kexec_file_load bpf ptrace
	process_vm_readv process_vm_writev perf_event_open io_uring_setup io_uring_enter io_uring_register io_setup io_submit
	userfaultfd keyctl add_key request_key setns unshare clone3 iopl ioperm acct settimeofday clock_settime clock_adjtime
	adjtimex sethostname setdomainname syslog vhangup quotactl quotactl_fd fanotify_init fanotify_mark open_by_handle_at
	name_to_handle_at pidfd_getfd kcmp process_madvise process_mrelease lookup_dcookie nfsservctl memfd_secret modify_ldt
	openat2 shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink
	mq_timedsend mq_timedreceive mq_notify mq_getsetattr move_pages migrate_pages mbind set_mempolicy
	set_mempolicy_home_node lsm_set_self_attr uselib create_module query_module get_kernel_syms vmsplice
	remap_file_pages ustat sysfs _sysctl setxattrat removexattrat file_setattr`

func TestDangerousCalls(t *testing.T) {
	for _, a := range machines(t) {
		p := Compile(a, capability.AllPledges)
		for name := range strings.FieldsSeq(dangerous) {
			nr, ok := a.Number(name)
			if !ok {
				continue
			}
			for _, v := range edges(name) {
				d := data{nr: nr, arch: a.audit, args: [6]uint64{v, v, v, v, v, v}}
				if got, err := p.execute(&d); err != nil || got == Allow {
					t.Errorf("%s: %s%#x: %#x, %v", a.Name, name, d.args, got, err)
				}
				if meant(a, capability.AllPledges, &d) == ask {
					t.Errorf("%s: %s is asked", a.Name, name)
				}
			}
		}
	}
	// A slip in the list would test nothing.
	for name := range strings.FieldsSeq(dangerous) {
		x86, arm := machines(t)[0], machines(t)[1]
		if _, ok := x86.Number(name); !ok {
			if _, ok := arm.Number(name); !ok {
				t.Errorf("no machine has a call %s", name)
			}
		}
	}
}

// TestForeignCalls: other machines' calls and x32's go to the listener, whatever
// their numbers.
func TestForeignCalls(t *testing.T) {
	const i386, arm = 0x40000003, 0x40000028
	for _, a := range machines(t) {
		p := Compile(a, capability.AllPledges)
		for _, c := range a.calls {
			for _, d := range []data{
				{nr: c.nr, arch: i386}, {nr: c.nr, arch: arm}, {nr: c.nr, arch: 0}, {nr: c.nr, arch: a.audit ^ 1<<30},
				{nr: c.nr | 0x40000000, arch: a.audit}, {nr: c.nr | 1<<31, arch: a.audit}, {nr: c.nr | 0xffff<<16, arch: a.audit},
			} {
				if got, err := p.execute(&d); err != nil || got != Fault {
					t.Errorf("%s: call %#x of machine %#x: %#x, %v", a.Name, d.nr, d.arch, got, err)
				}
			}
		}
		for _, nr := range []uint32{1 << 30, 1<<30 + 512, 1<<31 - 1, 1 << 31, ^uint32(0)} {
			if got, err := p.execute(&data{nr: nr, arch: a.audit}); err != nil || got != Fault {
				t.Errorf("%s: call %#x: %#x, %v", a.Name, nr, got, err)
			}
		}
	}
}

// rank orders verdicts by how much they let through.
func rank(v Verdict) int {
	switch v {
	case Allow:
		return 3
	case ask:
		return 2
	case Fault:
		return 0
	}
	return 1 // an errno
}

// TestPledgesOnlyAdd: a promise more never takes away what a call got without it.
func TestPledgesOnlyAdd(t *testing.T) {
	for _, a := range machines(t) {
		for _, c := range a.calls {
			for _, v := range edges(c.name) {
				for _, d := range []data{
					{nr: c.nr, arch: a.audit, args: [6]uint64{v, v, v, v, v, v}},
					{nr: c.nr, arch: a.audit, args: [6]uint64{v}},
					{nr: c.nr, arch: a.audit, args: [6]uint64{unix.AF_INET, v}},
				} {
					verdicts := make(map[capability.Pledge]int)
					for _, p := range allPledges() {
						verdicts[p] = rank(meant(a, p, &d))
					}
					for p, with := range verdicts {
						for bit := capability.Pledge(1); bit <= p; bit <<= 1 {
							if p&bit != 0 && verdicts[p&^bit] > with {
								t.Fatalf("%s: %s%#x gets more from %s than from %s", a.Name, c.name, d.args, p&^bit, p)
							}
						}
					}
				}
			}
		}
	}
}

func TestMissing(t *testing.T) {
	a := Host()
	for _, tt := range []struct {
		pledge capability.Pledge
		call   string
		want   capability.Pledge
	}{
		{capability.Stdio, "execve", capability.ExecOnly},
		{capability.Stdio, "mkdirat", capability.Cpath},
		{capability.Stdio, "fchmod", capability.Fattr},
		{capability.Stdio, "truncate", capability.WriteOnly},
		{capability.Stdio, "socket", capability.Inet},
		{capability.Stdio, "connect", capability.Inet},
		{capability.Stdio, "setsid", capability.Proc},
		{capability.Stdio, "clone", capability.Proc},
		{capability.AllPledges, "mount", 0},
		{capability.Stdio, "reboot", 0},
		{capability.AllPledges, "read", 0},
	} {
		nr, ok := a.Number(tt.call)
		if !ok {
			t.Fatalf("no call %s", tt.call)
		}
		if got := Missing(a, tt.pledge, nr); got != tt.want {
			t.Errorf("%s under %s: missing %s, want %s", tt.call, tt.pledge, got, tt.want)
		}
	}
}
