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

// TestHiddenIsStricter compares the filters of cells that see only their names
// with those of others: path calls are asked, nothing else is easier.
func TestHiddenIsStricter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	paths := strings.Fields(pathCalls)
	asked := 0
	for _, a := range machines(t) {
		values := make(map[string][]uint64)
		for _, c := range a.calls {
			values[c.name] = append(edges(c.name), 10) // RLIMIT_LOCKS
		}
		for _, pledge := range allPledges() {
			plain, hidden := Compile(a, pledge, Bare), Compile(a, pledge, Asked)
			if len(hidden) > 4096 {
				t.Fatalf("%s %s: %d instructions, the kernel takes 4096", a.Name, pledge, len(hidden))
			}
			for _, c := range a.calls {
				values := values[c.name]
				for range 4 {
					d := a.random(rnd, c.nr, values)
					was, err := plain.execute(&d)
					if err != nil {
						t.Fatal(err)
					}
					is, err := hidden.execute(&d)
					if err != nil {
						t.Fatal(err)
					}
					want := was
					switch {
					case was == Allow && slices.Contains(paths, c.name):
						want = Ask
						asked++
					case c.name == "openat2" && pledge&1 != 0, pledge&1 != 0 && (c.name == "landlock_add_rule" || c.name == "landlock_restrict_self"):
						want = Ask
					case c.name == "setrlimit" && uint32(d.args[0]) == 10 || c.name == "prlimit64" && uint32(d.args[1]) == 10 && d.args[2] != 0:
						want = Errno(eperm)
					}
					if is != want {
						t.Fatalf("%s %s: %s%#x: verdict %#x, want %#x; plain %#x", a.Name, pledge, c.name, d.args, is, want, was)
					}
				}
			}
		}
	}
	if asked < 1000 {
		t.Errorf("only %d path calls were asked", asked)
	}
}

// TestHiddenPass lets the launching child execute the program, and nobody else.
func TestHiddenPass(t *testing.T) {
	for _, a := range machines(t) {
		for _, pledge := range allPledges() {
			p, err := newPass()
			if err != nil {
				t.Fatal(err)
			}
			filter := decode(p.arm(Compile(a, pledge, Asked).Bytes()))
			nr, _ := a.Number("execve")
			d := data{nr: nr, arch: a.audit}
			copy(d.args[passArgs:], p[:])
			if got, err := filter.execute(&d); err != nil || got != Allow {
				t.Fatalf("%s %s: with the pass: %#x %v", a.Name, pledge, got, err)
			}
			d.args[passArgs] ^= 1 << 40
			if got, err := filter.execute(&d); err != nil || got != Ask {
				t.Fatalf("%s %s: with another: %#x %v", a.Name, pledge, got, err)
			}
		}
	}
}

// TestNativeIsExact: a cell with a zone may do what one that asks everything
// must ask, where the pointer is a slot or the sealed empty string, and nothing
// else is different.
func TestNativeIsExact(t *testing.T) {
	const slot = zone.Addr + 5*zone.SlotSize
	for _, a := range machines(t) {
		last := uint64(zone.Addr + (flagsOf(a).Slots()-1)*zone.SlotSize)
		openat2 := []struct {
			how, size uint64
			native    bool
		}{
			{slot, 24, true}, {zone.Addr, 24, true}, {last, 24, true},
			{zone.Addr - 32, 24, false}, {last + 32, 24, false}, {slot + 1, 24, false}, {slot + 16, 24, false}, {slot + 31, 24, false},
			{zone.TableAddr, 24, false}, {zone.EmptyAddr, 24, false}, {slot | 1<<32, 24, false}, {slot | 1<<63, 24, false},
			{slot, 0, false}, {slot, 23, false}, {slot, 25, false}, {slot, 32, false}, {slot, 24 | 1<<32, false}, {slot, 1 << 32, false}, {0, 24, false},
		}
		for _, pledge := range allPledges() {
			filters := map[Sight]Filter{Asked: nil, Native: nil, Counted: nil}
			for s := range filters {
				if filters[s] = Compile(a, pledge, s); len(filters[s]) > 4096 {
					t.Fatalf("%s %s: %d instructions, the kernel takes 4096", a.Name, pledge, len(filters[s]))
				}
			}
			verdict := func(s Sight, d *data) Verdict {
				t.Helper()
				v, err := filters[s].execute(d)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			nr, _ := a.Number("openat2")
			for _, c := range openat2 {
				d := data{nr: nr, arch: a.audit, args: [6]uint64{41, 0x7fff0000, c.how, c.size, 2}}
				want := verdict(Asked, &d)
				counted := want
				if c.native {
					want, counted = Allow, Ask
				}
				if got := verdict(Native, &d); got != want {
					t.Errorf("%s %s: openat2 how %#x size %#x: %#x, want %#x", a.Name, pledge, c.how, c.size, got, want)
				}
				if got := verdict(Counted, &d); got != counted {
					t.Errorf("%s %s: counted openat2 how %#x size %#x: %#x, want %#x", a.Name, pledge, c.how, c.size, got, counted)
				}
			}
			for _, name := range []string{"newfstatat", "statx", "faccessat2", "readlinkat", "execveat"} {
				nr, _ := a.Number(name)
				for _, path := range []uint64{zone.EmptyAddr, zone.EmptyAddr + 1, zone.EmptyAddr | 1<<32, zone.TableAddr, 0} {
					d := data{nr: nr, arch: a.audit, args: [6]uint64{41, path, 0x7fff0000}}
					want := verdict(Asked, &d)
					if path == zone.EmptyAddr && (name != "execveat" || pledge.Has(capability.ExecOnly)) {
						want = Allow
					}
					if got := verdict(Native, &d); got != want {
						t.Errorf("%s %s: %s of %#x: %#x, want %#x", a.Name, pledge, name, path, got, want)
					}
				}
			}
			nr, _ = a.Number("fchdir")
			for mark, want := range map[uint64]Verdict{zone.FchdirMark: Allow, 0: Ask, zone.FchdirMark + 1: Ask} {
				if got := verdict(Native, &data{nr: nr, arch: a.audit, args: [6]uint64{5, mark}}); got != want {
					t.Errorf("%s %s: fchdir with %#x: %#x, want %#x", a.Name, pledge, mark, got, want)
				}
			}
			same := func(c call, d *data) {
				switch c.name {
				case "openat2", "newfstatat", "statx", "faccessat2", "readlinkat", "execveat", "fchdir":
					return
				}
				if got, want := verdict(Native, d), verdict(Asked, d); got != want {
					t.Errorf("%s %s: %s%#x: %#x, all asked %#x", a.Name, pledge, c.name, d.args, got, want)
				}
			}
			for _, c := range a.calls {
				for _, v := range edges(c.name) {
					same(c, &data{nr: c.nr, arch: a.audit, args: [6]uint64{v, v, v, v, v, v}})
				}
			}
		}
	}
}

// TestKept: what every program of a cell has open stays, whichever half of the
// register says so, and what is beside it does not.
func TestKept(t *testing.T) {
	const junk = 0xdeadbeef << 32
	for _, a := range machines(t) {
		for _, sight := range []Sight{Bare, Asked, Learned, Native, Counted} {
			f := Compile(a, capability.AllPledges, sight)
			for _, c := range []struct {
				call string
				args [6]uint64
				want Verdict
			}{
				{"close", [6]uint64{zone.PackageFD}, Errno(0)}, {"close", [6]uint64{zone.FD}, Errno(0)}, {"close", [6]uint64{junk | 47}, Errno(0)},
				{"close", [6]uint64{zone.PackageFD - 1}, Allow}, {"close", [6]uint64{zone.FD + 1}, Allow},
				{"fcntl", [6]uint64{junk | zone.FD, unix.F_SETFD, 1}, Errno(0)}, {"fcntl", [6]uint64{zone.FD, junk | unix.F_SETFD, 1}, Errno(0)},
				{"fcntl", [6]uint64{39, unix.F_SETFD, 1}, Allow}, {"fcntl", [6]uint64{zone.FD, unix.F_GETFD}, Allow},
				{"ioctl", [6]uint64{zone.FD, fioclex}, Errno(0)}, {"ioctl", [6]uint64{junk | 44, junk | fioclex}, Errno(0)}, {"ioctl", [6]uint64{3, fioclex}, Allow},
				{"dup2", [6]uint64{3, zone.FD}, Errno(ebadf)}, {"dup3", [6]uint64{3, junk | 41}, Errno(ebadf)}, {"dup3", [6]uint64{3, 56}, Allow},
				{"dup3", [6]uint64{zone.FD, 3}, Allow},
				{"close_range", [6]uint64{3, junk | 0xffffffff}, Errno(eperm)}, {"close_range", [6]uint64{zone.FD, zone.FD}, Errno(eperm)},
				{"close_range", [6]uint64{3, 39}, Allow}, {"close_range", [6]uint64{56, 0xffffffff}, Allow}, {"close_range", [6]uint64{junk, junk | 40, 4}, Errno(eperm)},
			} {
				nr, ok := a.Number(c.call)
				if !ok {
					continue // dup2 on arm64
				}
				if got, err := f.execute(&data{nr: nr, arch: a.audit, args: c.args}); err != nil || got != c.want {
					t.Errorf("%s %d: %s%#x: %#x, %v, want %#x", a.Name, sight, c.call, c.args, got, err, c.want)
				}
			}
		}
	}
}
