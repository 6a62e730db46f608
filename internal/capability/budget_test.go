package capability

import (
	"errors"
	"math"
	"testing"
)

func TestParseBudget(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Budget
		text string
	}{
		{"", Budget{}, ""},
		{"memory=256M,fibers=64,cpu=50%,disk=1G,io=20M/s,energy=2.5J/s,spectrum=gravity",
			Budget{"gravity", 256 << 20, 64, 50, 1 << 30, 20 << 20, 2500},
			"memory=256M,fibers=64,cpu=50%,disk=1G,io=20M/s,energy=2.5J/s,spectrum=gravity"},
		{"energy=10", Budget{Energy: 10_000}, "energy=10J/s"},
		{"energy=0.050W", Budget{Energy: 50}, "energy=0.05J/s"},
		{"io=1000, cpu=150", Budget{IO: 1000, CPU: 150}, "cpu=150%,io=1000/s"},
		{"disk=1t", Budget{Disk: 1 << 40}, "disk=1T"},
	} {
		b, err := ParseBudget(c.in)
		if err != nil || b != c.want || b.String() != c.text {
			t.Errorf("%q: %+v %s, %v", c.in, b, b, err)
		}
		if again, err := ParseBudget(b.String()); err != nil || again != b {
			t.Errorf("%s is read back as %+v, %v", b, again, err)
		}
	}
	for in, want := range map[string]string{
		"memory":              `budget "memory": want key=value`,
		"memory=":             `budget "memory=": want a number such as 256M`,
		"memory=0":            `budget "memory=0": must be more than 0`,
		"memory=-1":           `budget "memory=-1": want a number such as 256M`,
		"memory=1.5G":         `budget "memory=1.5G": want a number such as 256M`,
		"memory=9999999999G":  `budget "memory=9999999999G": too large`,
		"memory=1M,memory=2M": `budget "memory": given twice`,
		"fibers=many":         `budget "fibers=many": want a whole number below 2147483648`,
		"fibers=":             `budget "fibers=": want a whole number below 2147483648`,
		"fibers=0":            `budget "fibers=0": must be more than 0`,
		"fibers=+3":           `budget "fibers=+3": want a whole number below 2147483648`,
		"cpu=%":               `budget "cpu=%": want a whole number below 2147483648`,
		"cpu=50%%":            `budget "cpu=50%%": want a whole number below 2147483648`,
		"spectrum=red":        `budget "spectrum=red": want photon, matter, gravity or void`,
		"colour=red":          `budget "colour": no such item: there are memory, fibers, cpu, disk, io, energy and spectrum`,
		"memory=1M,":          `budget "": want key=value`,
		"energy=0.0005":       `budget "energy=0.0005": want joules a second, such as 2.5J/s`,
		"energy=-1":           `budget "energy=-1": want joules a second, such as 2.5J/s`,
		"energy=.5":           `budget "energy=.5": want joules a second, such as 2.5J/s`,
		"energy=1.":           `budget "energy=1.": want joules a second, such as 2.5J/s`,
		"energy=W":            `budget "energy=W": want joules a second, such as 2.5J/s`,
		"energy=999999999999": `budget "energy=999999999999": want joules a second, such as 2.5J/s`,
		"energy=0.000":        `budget "energy=0.000": must be more than 0`,
		"io=1M/m":             `budget "io=1M/m": want a number such as 256M`,
	} {
		b, err := ParseBudget(in)
		var e *SyntaxError
		if !errors.As(err, &e) || err.Error() != want || b != (Budget{}) {
			t.Errorf("%q: %+v, %v; want %s", in, b, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, n := range []int64{0, 1, 1000, 1023, 1024, 1025, 1 << 20, 3 << 30, 1 << 40, 5 << 50, 1 << 62, math.MaxInt64} {
		got, err := ParseSize(FormatSize(n))
		if err != nil || got != n {
			t.Errorf("%d is written %s and read %d, %v", n, FormatSize(n), got, err)
		}
	}
	rnd := random()
	for range 2000 {
		n := rnd.Int64() >> rnd.IntN(63)
		if got, err := ParseSize(FormatSize(n)); err != nil || got != n {
			t.Fatalf("%d is written %s and read %d, %v", n, FormatSize(n), got, err)
		}
	}
	for _, in := range []string{"", "K", "1KB", "0x10", "8388608T", "9223372036854775808", "1 M", "+1"} {
		if n, err := ParseSize(in); err == nil {
			t.Errorf("%q is %d", in, n)
		}
	}
}
