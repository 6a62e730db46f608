package capability

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func unveils(t *testing.T, words string) (list []Unveil) {
	t.Helper()
	for _, w := range strings.Fields(words) {
		u, err := ParseUnveil(w, "")
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, u)
	}
	return list
}

func TestFoldUnveils(t *testing.T) {
	for _, c := range []struct{ list, within, want string }{
		{"", "/t:rw", ""},
		{"/t/a:r", "/t:rw", "/t/a:r"},
		{"/t/a:r /t/b:r /t/c:r", "/t:rw", "/t/a:r /t/b:r /t/c:r"},
		{"/t/a:r /t/b:r /t/c:r /t/d:r", "/t:rw", "/t:r"},
		{"/t/1/a:r /t/2/b:r /t/3/c:r /t/4/d:r", "/t:rw", "/t:r"},
		{"/t/s/a:r /t/s/b:r /t/s/c:r /t/s/d:r /t/e:rw", "/t:rw", "/t/e:rw /t/s:r"},
		{"/t/a:r /t/b:r /t/c:r /t/d:r /t/w:rw", "/t:rw", "/t:r /t/w:rw"},
		{"/t:r /t/a:r /t/b:rw", "/t:rw", "/t:r /t/b:rw"},
		{"/t:r /t/b:c", "/t:rw", "/t:r /t/b:rc"},
		// Nothing above what the person gave is put in the place of others.
		{"/a/1:r /a/2:r /a/3:r /a/4:r", "/a/1:r /a/2:r /a/3:r /a/4:r", "/a/1:r /a/2:r /a/3:r /a/4:r"},
		{"/:r /a:r", "/:r", "/:r"},
	} {
		var got []string
		for _, u := range FoldUnveils(unveils(t, c.list), unveils(t, c.within)) {
			got = append(got, u.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s within %s: %s, want %s", c.list, c.within, strings.Join(got, " "), c.want)
		}
	}
}

// TestFoldCovers: a folded list is canonical and takes nothing away.
func TestFoldCovers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		var list []Unveil
		for range rnd.IntN(20) {
			u := Unveil{Path: "/t", Rights: Rights(1 + rnd.IntN(15))}
			for range rnd.IntN(4) {
				u.Path += fmt.Sprintf("/%d", rnd.IntN(4))
			}
			list = append(list, u)
		}
		got := FoldUnveils(list, unveils(t, "/t:rwx"))
		for _, u := range list {
			if !RightsAt(got, u.Path).Has(u.Rights) {
				t.Fatalf("%v: folded to %v, which lacks %s", list, got, u)
			}
		}
		if want := NormalizeUnveils(got); !slices.Equal(got, want) {
			t.Fatalf("%v: folded to %v, canonical is %v", list, got, want)
		}
	}
}
