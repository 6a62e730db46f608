package capability

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func randomOverride(r *rand.Rand) Override {
	var o Override
	words := [...]string{"STDIO", "RPATH", "WPATH", "CPATH", "FATTR", "INET", "EXEC", "PROC"}
	for range r.IntN(4) {
		if err := o.SetPledge([]string{[...]string{"", "-"}[r.IntN(2)] + words[r.IntN(len(words))]}); err != nil {
			panic(err)
		}
	}
	for _, u := range randomUnveils(r) {
		if r.IntN(2) == 0 && u.Rights != 0 {
			o.SetUnveil(u)
		} else {
			o.SetLimit(u)
		}
	}
	if r.IntN(2) == 0 {
		o.SetBudget(randomBudget(r))
	}
	return o
}

func randomLayers(r *rand.Rand) []Override {
	layers := make([]Override, r.IntN(3))
	for i := range layers {
		layers[i] = randomOverride(r)
	}
	return layers
}

// TestGivenYieldsNothingFromNowhere: each right was asked for or given by the
// person, none passes a cap, and what the last layer takes is gone.
func TestGivenYieldsNothingFromNowhere(t *testing.T) {
	r := random()
	for range 10000 {
		m, layers, limit := randomSet(r), randomLayers(r), randomSet(r)
		got := Given(m, layers, limit)
		source := Set{Pledge: m.Pledge & AllPledges, Unveil: m.Unveil}
		for _, o := range layers {
			source.Pledge |= o.Give
			source.Unveil = append(slices.Clone(source.Unveil), o.Unveil...)
		}
		for _, p := range probes() {
			have := RightsAt(got.Unveil, p)
			if have&^(RightsAt(source.Unveil, p)&RightsAt(limit.Unveil, p)) != 0 {
				t.Fatalf("%+v under %+v, %+v: %v has too much at %s", m, layers, limit, got.Unveil, p)
			}
			if len(layers) == 0 {
				continue
			}
			for _, l := range layers[len(layers)-1].Limit {
				if contains(l.Path, p) && have&^l.Rights.closed() != 0 {
					t.Fatalf("%s was limited to %q, %s has %q: %+v under %+v", l.Path, l.Rights, p, have, m, layers)
				}
			}
		}
		if got.Pledge&^(source.Pledge&limit.Pledge) != 0 || len(layers) > 0 && got.Pledge&layers[len(layers)-1].Take != 0 {
			t.Fatalf("pledge %s of %s under %+v", got.Pledge, m.Pledge, layers)
		}
		for _, bound := range append([]Budget{m.Budget, limit.Budget}, budgets(layers)...) {
			if !within(got.Budget, bound) {
				t.Fatalf("budget %s is not within %s", got.Budget, bound)
			}
		}
	}
}

func budgets(layers []Override) (list []Budget) {
	for _, o := range layers {
		list = append(list, o.Budget)
	}
	return list
}

// TestGivenWithoutOverrides is what Effective makes of it in another way.
func TestGivenWithoutOverrides(t *testing.T) {
	r := random()
	for range 5000 {
		m, a, b := randomSet(r), randomSet(r), randomSet(r)
		if got, want := Given(m, nil, a, b), Effective(m, Changes{}, a, b); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\nunder %+v\nand %+v\nis %+v\nwant %+v", m, a, b, got, want)
		}
	}
}

// TestOrderOfRestrictionsDoesNotMatter: neither that of caps, nor that in which
// one layer's restrictions were decided, nor which layer of restrictions they
// are in.
func TestOrderOfRestrictionsDoesNotMatter(t *testing.T) {
	r := random()
	for range 5000 {
		m, layers := randomSet(r), randomLayers(r)
		caps := []Set{randomSet(r), randomSet(r), randomSet(r)}
		want := Given(m, layers, caps...)
		r.Shuffle(len(caps), func(i, j int) { caps[i], caps[j] = caps[j], caps[i] })
		for _, o := range layers {
			r.Shuffle(len(o.Limit), func(i, j int) { o.Limit[i], o.Limit[j] = o.Limit[j], o.Limit[i] })
		}
		if got := Given(m, layers, caps...); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v under %+v:\n%+v\n%+v", m, layers, got, want)
		}
		for i := range layers { // all that only take away
			layers[i].Give, layers[i].Unveil = 0, nil
		}
		want = Given(m, layers, caps...)
		r.Shuffle(len(layers), func(i, j int) { layers[i], layers[j] = layers[j], layers[i] })
		if got := Given(m, append(layers, layers...), caps...); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v under %+v:\n%+v\n%+v", m, layers, got, want)
		}
	}
}

// TestRestrictionsOnlyRestrict: to take, limit or narrow more never yields more.
func TestRestrictionsOnlyRestrict(t *testing.T) {
	r := random()
	for range 5000 {
		m, layers, limit := randomSet(r), append(randomLayers(r), randomOverride(r)), randomSet(r)
		before := Given(m, layers, limit)
		o, more := &layers[r.IntN(len(layers))], randomOverride(r)
		o.Take |= more.Take
		o.Limit = append(slices.Clone(o.Limit), more.Limit...)
		o.Budget = o.Budget.Intersect(more.Budget)
		if e := Given(m, layers, limit, randomSet(r)).Beyond(before); !e.IsZero() {
			t.Fatalf("more restrictions gave %s: %+v under %+v", e, m, layers)
		}
	}
}

// TestBeyond compares what is said to be new with what is at each path.
func TestBeyond(t *testing.T) {
	r := random()
	for range 10000 {
		a, b := randomSet(r), randomSet(r)
		e := a.Beyond(b)
		missing := false
		for _, p := range probes() {
			over := RightsAt(a.Unveil, p) &^ RightsAt(b.Unveil, p)
			missing = missing || over != 0
			if over&^RightsAt(e.Unveil, p) != 0 {
				t.Fatalf("%v beyond %v is %v: not told that %s has %q", a.Unveil, b.Unveil, e.Unveil, p, over)
			}
		}
		if missing != (len(e.Unveil) > 0) || e.Pledge != a.Pledge&^b.Pledge&AllPledges || within(a.Budget, b.Budget) != (len(e.Budget) == 0) {
			t.Fatalf("%+v beyond %+v is %s", a, b, e)
		}
		if e := a.Intersect(b).Beyond(b); !e.IsZero() {
			t.Fatalf("an intersection has beyond one side %s", e)
		}
		if layers := randomLayers(r); !Given(a, layers).Beyond(Agreed(a, layers)).IsZero() || !a.Beyond(Agreed(a, layers)).IsZero() {
			t.Fatalf("%+v under %+v: what is given or asked is not agreed to", a, layers)
		}
	}
	e := Set{Stdio | Wpath, []Unveil{{"/srv", Read | Write}, {"/srv/x", Read}, {"/new", Read}}, nil, Budget{"matter", 1 << 30, 0, 50, 0, 1000, 0}}.Beyond(
		Set{Stdio | WriteOnly, []Unveil{{"/srv", Read}}, nil, Budget{"gravity", 256 << 20, 8, 60, 1, 999, 5}})
	const want = "pledge CPATH,FATTR; unveil /new:r; unveil /srv:w; budget memory 256M -> 1G; budget fibers 8 -> unlimited; " +
		"budget disk 1 -> unlimited; budget io 999/s -> 1000/s; budget energy 0.005J/s -> unlimited; budget spectrum gravity -> matter"
	if e.String() != want {
		t.Errorf("got  %s\nwant %s", e, want)
	}
}

func TestGivenExamples(t *testing.T) {
	asked := Set{Stdio | Rpath | Inet, []Unveil{{"/home", Read | Write}, {"/srv/a", Read}}, nil, Budget{Memory: 1 << 30}}
	over := func(words string, limits, unveils []Unveil) Override {
		var o Override
		if words != "" {
			if err := o.SetPledge(strings.Fields(words)); err != nil {
				t.Fatal(err)
			}
		}
		for _, u := range limits {
			o.SetLimit(u)
		}
		for _, u := range unveils {
			o.SetUnveil(u)
		}
		return o
	}
	for name, c := range map[string]struct {
		layers []Override
		want   string
	}{
		"nothing decided":         {nil, "STDIO,RPATH,INET [/home:rw /srv/a:r]"},
		"taken from all":          {[]Override{over("-INET", nil, nil)}, "STDIO,RPATH [/home:rw /srv/a:r]"},
		"an exception":            {[]Override{over("-INET", nil, nil), over("INET EXEC", nil, nil)}, "STDIO,RPATH,INET,EXEC [/home:rw /srv/a:r]"},
		"limited":                 {[]Override{over("", []Unveil{{"/home", Read}}, nil)}, "STDIO,RPATH,INET [/home:r /srv/a:r]"},
		"limited above":           {[]Override{over("", []Unveil{{"/", Read}}, nil)}, "STDIO,RPATH,INET [/home:r /srv/a:r]"},
		"hidden below":            {[]Override{over("", []Unveil{{"/home/me/.ssh", 0}}, nil)}, "STDIO,RPATH,INET [/srv/a:r]"},
		"hidden but for one":      {[]Override{over("", []Unveil{{"/home", 0}}, nil), over("", nil, []Unveil{{"/home/me", Read}})}, "STDIO,RPATH,INET [/home/me:r /srv/a:r]"},
		"both at once: taken":     {[]Override{over("", []Unveil{{"/home", 0}}, []Unveil{{"/home/me", Read}})}, "STDIO,RPATH,INET [/srv/a:r]"},
		"the last word at a path": {[]Override{over("", []Unveil{{"/home", 0}}, []Unveil{{"/home", Read}})}, "STDIO,RPATH,INET [/home:rw /srv/a:r]"},
	} {
		g := Given(asked, c.layers)
		var paths []string
		for _, u := range g.Unveil {
			paths = append(paths, u.String())
		}
		if got := g.Pledge.String() + " [" + strings.Join(paths, " ") + "]"; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestPledgeWords: the words of any override make the same one.
func TestPledgeWords(t *testing.T) {
	r := random()
	for range 5000 {
		o := randomOverride(r)
		var again Override
		if err := again.SetPledge(o.PledgeWords()); err != nil || again.Give != o.Give || again.Take != o.Take || o.Give&o.Take != 0 {
			t.Fatalf("%s, %s: %v make %s, %s, %v", o.Give, o.Take, o.PledgeWords(), again.Give, again.Take, err)
		}
	}
	o := Override{Give: Inet}
	if err := o.SetPledge([]string{"-INET", "NONE"}); err == nil || err.Error() != `pledge "NONE": no such promise` || o.Give != Inet {
		t.Errorf("%v, %+v", err, o)
	}
}

func TestOverrideString(t *testing.T) {
	var o Override
	if !o.IsZero() || o.String() != "" {
		t.Errorf("the zero override: %q", o)
	}
	if err := o.SetPledge([]string{"inet", "-EXEC", "-WPATH", "FATTR"}); err != nil {
		t.Fatal(err)
	}
	o.SetUnveil(Unveil{"/srv", Read | Write})
	o.SetLimit(Unveil{"/mnt", 0})
	o.SetLimit(Unveil{"/home", Read})
	o.SetBudget(Budget{Memory: 64 << 20, Fibers: 3})
	o.SetBudget(Budget{Fibers: 4})
	const want = "pledge -WPATH,FATTR,INET,-EXEC; unveil /srv:rw; limit /home:r; hide /mnt; budget memory=64M,fibers=4"
	if o.String() != want || o.IsZero() {
		t.Errorf("got  %s\nwant %s", o, want)
	}
	if !o.ClearPath("/mnt") || !o.ClearPath("/srv") || o.ClearPath("/mnt/x") || len(o.Unveil)+len(o.Limit) != 1 {
		t.Errorf("cleared: %s", o)
	}
}
