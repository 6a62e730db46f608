package zone

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSlots: a slot is found for exactly those calls whose struct open_how it
// holds, and every slot confines the path.
func TestSlots(t *testing.T) {
	for _, f := range Machines() {
		b, table := f.Build(), f.Table()
		if len(b) > TableAddr-Addr {
			t.Fatalf("%s: %d bytes of slots do not fit", f.Arch, len(b))
		}
		seen := map[[3]uint64]bool{}
		for i := range f.Slots() {
			how := [3]uint64{}
			for j := range how {
				how[j] = binary.LittleEndian.Uint64(b[i*SlotSize+8*j:])
			}
			resolve := how[2] &^ unix.RESOLVE_NO_MAGICLINKS
			if how[2]&unix.RESOLVE_NO_MAGICLINKS == 0 || resolve != unix.RESOLVE_IN_ROOT && resolve != unix.RESOLVE_BENEATH {
				t.Fatalf("%s: slot %d resolves by %#x", f.Arch, i, how[2])
			}
			if got, ok := table.Slot(how[0], how[1], resolve == unix.RESOLVE_IN_ROOT); !ok || got != i {
				t.Errorf("%s: flags %#o mode %#o are in slot %d, but %d, %v is found", f.Arch, how[0], how[1], i, got, ok)
			}
			if seen[how] {
				t.Errorf("%s: %#o %#o %#x twice", f.Arch, how[0], how[1], how[2])
			}
			seen[how] = true
		}
		for _, flags := range []uint64{3, f.Creat, f.Creat | 2 | f.Nonblock, 0o20000000 | f.Directory, 0o40000, 1 | f.Directory} {
			if f.Arch == "arm64" && flags == 0o40000 {
				continue // O_DIRECTORY there
			}
			if slot, ok := table.Slot(flags, 0o644, true); ok {
				t.Errorf("%s: flags %#o are in slot %d", f.Arch, flags, slot)
			}
		}
		a, _ := table.Slot(f.Path|f.Nofollow, 0, true)
		if got, ok := table.Slot(f.Path|f.Nofollow|f.Creat|f.Largefile|2, 0o123, true); !ok || got != a {
			t.Errorf("%s: O_PATH with flags that the kernel ignores: %d, %v, want %d", f.Arch, got, ok, a)
		}
	}
}

// TestSlotFiles keeps the files of slots the same as what the classes say.
// NIP_WRITE=1 go test ./internal/view/zone writes them again.
func TestSlotFiles(t *testing.T) {
	for _, f := range Machines() {
		name := "slots_" + f.Arch + ".bin"
		if os.Getenv("NIP_WRITE") != "" {
			if err := os.WriteFile(name, f.Build(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(name)
		if err != nil || string(b) != string(f.Build()) {
			t.Errorf("%s holds something else, %v: run NIP_WRITE=1 go test", name, err)
		}
	}
	if string(BuildSlots()) != string(Host().Build()) {
		t.Error("this machine's slots are others")
	}
}

// TestKernelTakesSlots: the kernel refuses none of them as malformed.
func TestKernelTakesSlots(t *testing.T) {
	dir, err := unix.Open(t.TempDir(), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	b := BuildSlots()
	for i := 0; i < len(b); i += SlotSize {
		how := unix.OpenHow{Flags: binary.LittleEndian.Uint64(b[i:]), Mode: binary.LittleEndian.Uint64(b[i+8:]), Resolve: binary.LittleEndian.Uint64(b[i+16:])}
		fd, err := unix.Openat2(dir, "none/none", &how)
		if err != unix.ENOENT {
			t.Errorf("slot %d: openat2 with %+v: %d, %v", i/SlotSize, how, fd, err)
		}
	}
}

func TestTable(t *testing.T) {
	good := []Root{{"/", ViewFD, InRoot}, {"/tmp", TmpFD, 0}, {"/proc", Ask, 0}}
	b, err := BuildTable(good, []Dir{{Dev: 1, Ino: 2, Name: "/", Listed: true}})
	if err != nil {
		t.Fatal(err)
	}
	if binary.LittleEndian.Uint64(b) != Magic || b[HeaderFlags] != 0 || b[HeaderRoots] != 3 || b[HeaderDirs] != 1 {
		t.Errorf("header % x", b[:HeaderSize])
	}
	if kept := binary.LittleEndian.Uint64(b[HeaderKept:]); kept != 0xffff<<40 {
		t.Errorf("kept descriptors %#x", kept)
	}
	if off := binary.LittleEndian.Uint16(b[HeaderSize:]); string(b[off:off+5]) != "/proc" {
		t.Errorf("first root %q: not the longest", b[off:off+5])
	}
	if b, err := BuildTable(nil, nil); err != nil || b[HeaderFlags] != AskAll {
		t.Errorf("empty table: %v, % x", err, b)
	}
	for _, bad := range [][]Root{
		{{"tmp", TmpFD, 0}}, {{"/tmp/", TmpFD, 0}}, {{"/a/../b", TmpFD, 0}}, {{"//a", TmpFD, 0}}, {{"", TmpFD, 0}},
		{{"/a", 3, 0}}, {{"/a", FD, 0}}, {{"/a", -2, 0}}, {{"/a", TmpFD, Exact}}, {{"/a", Ask, Exact | InRoot}}, {{"/a", Ask, 8}}, {{"/a", TmpFD, Exact | Unseen}},
		{{"/a", Ask, Exact}, {"/a", Ask, Exact}}, {{"/a", TmpFD, 0}, {"/a", HomeFD, 0}},
		{{"/" + strings.Repeat("a", TableSize), TmpFD, 0}}, make([]Root, MaxRoots+1),
	} {
		if _, err := BuildTable(bad, nil); !errors.Is(err, ErrTable) {
			t.Errorf("%.60v: %v", bad, err)
		}
	}
}

// TestExact: a directory by itself comes before the root of the same name, and
// longer names before both.
func TestExact(t *testing.T) {
	b, err := BuildTable([]Root{{"/", ViewFD, InRoot}, {"/", Ask, Exact}, {"/home", HomeFD, 0}, {"/home/u/x", FirstFD, 0}, {"/home", Ask, Exact}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b[HeaderFlags] != HasExact {
		t.Errorf("flags %#x", b[HeaderFlags])
	}
	var got []RootFlags
	var lengths []byte
	for i := range 5 {
		e := b[HeaderSize+i*RootSize:]
		got, lengths = append(got, RootFlags(e[8])), append(lengths, e[2])
	}
	if want := []RootFlags{0, Exact, 0, Exact, InRoot}; !slices.Equal(got, want) || string(lengths) != "\x09\x05\x05\x00\x00" {
		t.Errorf("flags %v of prefixes of %v bytes, want %v", got, lengths, want)
	}
}

// TestCreate: the zone's bytes are what was asked for, and stay.
func TestCreate(t *testing.T) {
	table, err := BuildTable([]Root{{"/", ViewFD, InRoot}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := Create(table)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	b := make([]byte, Size+1)
	if n, err := unix.Pread(fd, b, 0); err != nil || n != Size {
		t.Fatalf("read %d, %v", n, err)
	}
	want := make([]byte, Size+1)
	copy(want, BuildSlots())
	copy(want[TableAddr-Addr:], table)
	if string(b) != string(want) {
		t.Error("the zone holds something else")
	}
	if _, err := unix.Pwrite(fd, []byte{1}, 0); err != unix.EPERM {
		t.Errorf("write: %v", err)
	}
	if err := unix.Ftruncate(fd, 0); err != unix.EPERM {
		t.Errorf("truncate: %v", err)
	}
	if _, err := unix.Mmap(fd, 0, Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		t.Error("a writable mapping of the zone")
	}
}

func BenchmarkCreate(b *testing.B) {
	table, err := BuildTable([]Root{{"/", ViewFD, InRoot}, {"/tmp", TmpFD, 0}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		fd, err := Create(table)
		if err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
	}
}
