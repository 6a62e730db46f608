package capability

import (
	"math/rand/v2"
	"path"
	"reflect"
	"testing"
)

// testPaths is a small tree, so that random lists meet at the same names, with
// names that share beginnings.
var testPaths = [...]string{"/", "/a", "/a/b", "/a/b/c", "/a/bc", "/ab", "/ab/c", "/d", "/d/e/f"}

func randomUnveils(r *rand.Rand) []Unveil {
	list := make([]Unveil, r.IntN(5))
	for i := range list {
		list[i] = Unveil{testPaths[r.IntN(len(testPaths))], Rights(r.IntN(int(AllRights) + 1))}
	}
	return list
}

// randomNets has names, and prefixes that meet.
func randomNets(r *rand.Rand) []Net {
	texts := [...]string{"any", "*", "10.0.0.0/8", "10.1.0.0/16:80-90", "any:85-100", "127.0.0.1", "example.org:80", "udp:*", "listen:0.0.0.0/0", "listen:8080", "dns"}
	var list []Net
	for range r.IntN(4) {
		n, _ := ParseNet(texts[r.IntN(len(texts))])
		list = append(list, n...)
	}
	return list
}

func randomBudget(r *rand.Rand) Budget {
	spectrums := [...]string{"", "photon", "matter", "gravity", "void"}
	limit := func() int64 { return int64(r.IntN(4)) }
	return Budget{spectrums[r.IntN(len(spectrums))], limit(), int(limit()), int(limit()), limit(), limit(), limit()}
}

func randomSet(r *rand.Rand) Set {
	return Set{Pledge(r.Uint64()), randomUnveils(r), randomNets(r), randomBudget(r)}
}

// probes are paths at which rights are compared: those of the lists, what lies
// below them, and neighbours.
func probes() []string {
	var out []string
	for _, p := range testPaths {
		out = append(out, p, path.Join(p, "x"), path.Join(p, "x/y"), p+"z")
	}
	return out
}

// within reports whether budget b allows no more than limit.
func within(b, limit Budget) bool {
	ok := func(x, l int64) bool { return l == 0 || x != 0 && x <= l }
	return ok(b.Memory, limit.Memory) && ok(int64(b.Fibers), int64(limit.Fibers)) && ok(int64(b.CPU), int64(limit.CPU)) &&
		ok(b.Disk, limit.Disk) && ok(b.IO, limit.IO) && ok(b.Energy, limit.Energy) &&
		(limit.Spectrum == "" || b.Spectrum != "" && SpectrumRank(b.Spectrum) <= SpectrumRank(limit.Spectrum))
}

func TestIntersectionYieldsNothingThatOneSideLacks(t *testing.T) {
	r := random()
	for range 20000 {
		a, b := randomSet(r), randomSet(r)
		both := a.Intersect(b)
		for _, p := range probes() {
			want := RightsAt(a.Unveil, p) & RightsAt(b.Unveil, p)
			if got := RightsAt(both.Unveil, p); got != want {
				t.Fatalf("%v ∩ %v = %v: rights %q at %s, want %q", a.Unveil, b.Unveil, both.Unveil, got, p, want)
			}
		}
		if !a.Pledge.Has(both.Pledge) || !b.Pledge.Has(both.Pledge) || both.Pledge != a.Pledge&b.Pledge&AllPledges {
			t.Fatalf("%#x ∩ %#x = %#x", a.Pledge, b.Pledge, both.Pledge)
		}
		if !within(both.Budget, a.Budget) || !within(both.Budget, b.Budget) {
			t.Fatalf("%v ∩ %v = %v", a.Budget, b.Budget, both.Budget)
		}
		if both.Budget != a.Budget && both.Budget != b.Budget && within(a.Budget, b.Budget) {
			t.Fatalf("%v is within %v, but their intersection is %v", a.Budget, b.Budget, both.Budget)
		}
	}
}

func TestIntersectionIsASemilattice(t *testing.T) {
	r := random()
	for range 5000 {
		a, b, c := randomSet(r), randomSet(r), randomSet(r)
		ab := a.Intersect(b)
		if ba := b.Intersect(a); !reflect.DeepEqual(ab, ba) {
			t.Fatalf("order matters:\n%+v\n%+v", ab, ba)
		}
		if left, right := ab.Intersect(c), a.Intersect(b.Intersect(c)); !reflect.DeepEqual(left, right) {
			t.Fatalf("grouping matters:\n%+v\n%+v", left, right)
		}
		if again := ab.Intersect(ab); !reflect.DeepEqual(again, ab) {
			t.Fatalf("not idempotent:\n%+v\n%+v", ab, again)
		}
		if again := ab.Intersect(a); !reflect.DeepEqual(again, ab) {
			t.Fatalf("cutting twice differs:\n%+v\n%+v", ab, again)
		}
		if all := ab.Intersect(Everything()); !reflect.DeepEqual(all, ab) {
			t.Fatalf("everything is not neutral:\n%+v\n%+v", ab, all)
		}
	}
}

func TestNormalizeKeepsRightsAndIsCanonical(t *testing.T) {
	r := random()
	for range 10000 {
		list := randomUnveils(r)
		n := NormalizeUnveils(list)
		for _, p := range probes() {
			if RightsAt(list, p) != RightsAt(n, p) {
				t.Fatalf("%v became %v: rights at %s differ", list, n, p)
			}
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if again := NormalizeUnveils(append(list, list...)); !reflect.DeepEqual(again, n) {
			t.Fatalf("%v, then %v", n, again)
		}
		if len(n) > 0 && !reflect.DeepEqual(NormalizeUnveils(n), n) {
			t.Fatalf("%v changes when normalized again", n)
		}
	}
}

func TestEffective(t *testing.T) {
	manifest := Set{Stdio | Rpath | Wpath, []Unveil{{"/Data/users/downloads", Read | Write}}, DefaultNets(), Budget{Memory: 2 << 30}}
	policy := Set{Stdio | Rpath | Exec | Wpath&^Fattr, []Unveil{{"/Data", AllRights}, {"/home/me", Read}}, AllNets(), Budget{Memory: 1 << 30, Fibers: 10}}
	got := Effective(manifest, Changes{Unveil: []Unveil{{"/home/me/src", Read | Write}, {"/etc", Read}}, Budget: Budget{CPU: 50, Memory: 3 << 30}}, policy)
	want := Set{
		Stdio | Rpath | WriteOnly | Cpath,
		[]Unveil{{"/Data/users/downloads", Read | Write | Create}, {"/home/me/src", Read}},
		NormalizeNets(DefaultNets()),
		Budget{Memory: 1 << 30, Fibers: 10, CPU: 50},
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
	got = Effective(manifest, Changes{Pledge: Stdio | Inet | Exec, SetsPledge: true}, policy)
	if got.Pledge != Stdio|Exec {
		t.Fatalf("a pledge that replaces the manifest's: %s", got.Pledge)
	}
	if got := Effective(manifest, Changes{}); got.Pledge != manifest.Pledge || got.Budget != manifest.Budget {
		t.Fatalf("without caps: %+v", got)
	}
}

func TestEffectiveNeverPassesACap(t *testing.T) {
	r := random()
	for range 5000 {
		m, cap1, cap2 := randomSet(r), randomSet(r), randomSet(r)
		c := Changes{Pledge: Pledge(r.Uint64()), SetsPledge: r.IntN(2) == 0, Unveil: randomUnveils(r), Budget: randomBudget(r)}
		got := Effective(m, c, cap1, cap2)
		for _, limit := range []Set{cap1, cap2} {
			if !reflect.DeepEqual(got.Intersect(limit), got) {
				t.Fatalf("%+v is not within %+v", got, limit)
			}
		}
		if swapped := Effective(m, c, cap2, cap1); !reflect.DeepEqual(swapped, got) {
			t.Fatalf("the order of caps matters: %+v, %+v", got, swapped)
		}
	}
}

func BenchmarkEffective(b *testing.B) {
	m := Set{Stdio | Rpath | Exec, []Unveil{{"/a", Read}, {"/d", Read | Write}}, DefaultNets(), Budget{Memory: 1}}
	c := Changes{Unveil: []Unveil{{"/a/b", Read | Write}}}
	b.ReportAllocs()
	for b.Loop() {
		Effective(m, c, Everything())
	}
}
