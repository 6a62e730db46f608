package escape

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nipcells/internal/capability"
	"nipcells/test/rig"
)

// combination is a pledge, and what it is for: each of grants must succeed.
type combination struct {
	pledge capability.Pledge
	grants []string
}

func combinations() []combination {
	const look, change = capability.Stdio | capability.Rpath, capability.Stdio | capability.Rpath | capability.Wpath
	return []combination{
		{capability.Stdio, []string{"stat {self}"}},
		{look, []string{"open-read {granted}/secret", "list {granted}"}},
		{change, []string{"open-write {granted}/secret", "chmod {granted}/secret", "rename {granted}/spare {granted}/moved"}},
		{look | capability.Exec, []string{"fork", "exec {self} executed", "kill child 9"}},
		{change | capability.Inet, []string{"open-create {granted}/new", "listen-unbound", "interfaces"}},
		{capability.AllPledges, []string{"exec-copy {self} {granted}/copy", "listen-unbound", "setxattr {granted}/secret", "pidfd-signal child 9"}},
	}
}

// TestPledges makes all attempts of the battery under each pledge, in one cell, where
// faults are denied so that the next attempt follows: none may succeed, whatever the
// pledge permits otherwise. Left out are rows about one pledge or unveil, rows that
// need a standard input of their own, and what the pledge is for.
func TestPledges(t *testing.T) {
	all := battery(t)
	for _, c := range combinations() {
		var rows, last []attempt
		for _, family := range slices.Sorted(maps.Keys(all)) {
			for _, a := range all[family] {
				switch {
				case a.flags != nil, a.prepare != nil, a.args[0] == "swap", a.args[0] == "tty-ioctl", a.args[0] == "terminal-group",
					a.unless != 0 && c.pledge.Has(a.unless):
				case strings.HasPrefix(a.args[0], "landlock-"): // it binds those that follow in the same process
					last = append(last, a)
				default:
					rows = append(rows, a)
				}
			}
		}
		t.Run(c.pledge.String(), func(t *testing.T) { c.try(t, append(rows, last...)) })
	}
}

func (c combination) try(t *testing.T, rows []attempt) {
	s := newStage(t)
	v := s.startVictim(t)
	s.words["victim"] = strconv.Itoa(v.PID)
	listeners := s.listen(t)
	flags := append(w("--deny --pledge "+c.pledge.String()), executable...)
	where := "here"
	if c.pledge.Has(capability.Proc) {
		where = "fork"
	}
	line := []string{"battery", where}
	var hand []*os.File
	for _, a := range rows {
		line = append(line, strings.Join(a.args, "\x1f"))
		if a.hands != nil {
			hand = append(hand, a.hands(t, s))
		}
	}
	run := s.inCell(t, flags, line)
	send(t, run, hand...)
	looks := v.describe(t)
	before := s.snapshot(t, s.words["outside"]) + s.snapshot(t, s.Path("Data/apps/other")) + s.snapshot(t, s.Path("Cas")) + s.snapshot(t, s.Path("System"))
	res := rig.Run(t, run)
	if after := s.snapshot(t, s.words["outside"]) + s.snapshot(t, s.Path("Data/apps/other")) + s.snapshot(t, s.Path("Cas")) + s.snapshot(t, s.Path("System")); after != before {
		t.Errorf("outside was changed:\n%s", difference(before, after))
	}
	if n := v.signals(); n != 0 || !v.Alive() {
		t.Errorf("the process outside was reached: alive %v, %d signals", v.Alive(), n)
	} else if now := v.describe(t); now != looks {
		t.Errorf("the process outside was changed:\n%s", difference(looks, now))
	}
	for _, l := range listeners {
		if got := l.since(t); len(got) > 0 {
			t.Errorf("the listener %s outside was reached: %q", l.name, got)
		}
	}
	refused := judge(t, rows, res)
	if refused < len(rows)*9/10 {
		t.Errorf("of %d attempts only %d were refused", len(rows), refused)
	}
	for _, line := range c.grants {
		s.set(t)
		if res := rig.Run(t, s.inCell(t, flags, w(line))); res.Code != attackDone {
			t.Errorf("the control %s: %d %s%s", line, res.Code, words(res), res.Stderr)
		}
	}
	t.Logf("%d attempts, %d refused, %d controls", len(rows), refused, len(c.grants))
}

// judge reads what a battery says of each attempt, and returns how many were refused.
// One that came to nothing, because the pledge does not even permit what it begins
// with, is not one of them; elsewhere it must not come to nothing (stage.attempt).
func judge(t *testing.T, rows []attempt, res rig.Result) (refused int) {
	t.Helper()
	said := make([]string, len(rows))
	at := -1
	for line := range strings.Lines(res.Stdout) {
		if _, err := fmt.Sscanf(line, "ATTEMPT %d\n", &at); err == nil {
			continue
		}
		if text, ok := strings.CutPrefix(line, "RESULT "); ok && at >= 0 && at < len(rows) {
			said[at] = strings.TrimSpace(text)
		}
	}
	for i, a := range rows {
		switch word, _, _ := strings.Cut(said[i], " "); {
		case word == "refused", word == "done" && a.silent:
			refused++
		case word != "broken":
			t.Errorf("%s: %s: %q", a.name, strings.Join(a.args, " "), said[i])
		}
	}
	if res.Code != 0 {
		t.Errorf("exit status %d\n%s", res.Code, res.Stderr)
	}
	return refused
}
