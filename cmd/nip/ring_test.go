package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"nipcells/ion"
)

// People see the segments of processes, what went through them, and what goes by.
func TestRing(t *testing.T) {
	name := fmt.Sprintf("test-%d", os.Getpid())
	s, err := ion.Create(name, ion.Duplex(ion.ConsoleOut, ion.Lane{SlotSize: 64, Slots: 8})...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Ring(ion.ConsoleOut)
	if err != nil {
		t.Fatal(err)
	}
	m := make([]byte, ion.MessageHeader+5)
	ion.PutHeader(m, 7, 1)
	copy(m[ion.MessageHeader:], "hello")
	for range 3 {
		if err := r.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	run := func(words ...string) (string, error) {
		text, err := exec.Command(nip, append([]string{"ring"}, words...)...).CombinedOutput()
		return string(text), err
	}
	for _, test := range []struct {
		words []string
		want  []string
		fails bool
	}{
		{[]string{"ls"}, []string{"SEGMENT", name, " 0x1001 ", fmt.Sprint(os.Getpid())}, false},
		{[]string{"ls", "--json"}, []string{`"name": "` + name + `"`, `"channel": 4097`, `"sent": 3`}, false},
		{[]string{"stat", name}, []string{"CHANNEL", "0x1001", "host", "open", " 3 "}, false},
		{[]string{"stat", "--json", name}, []string{`"from": "guest"`, `"waiting": 3`, `"latency_log2_ns"`}, false},
		{[]string{"tap", "-n", "2", name, "0x1001"}, []string{"host 0 kind 7 version 1 13 bytes 68656c6c6f\n", "host 1 kind 7"}, false},
		{[]string{"tap", name, "5"}, []string{"has no channel 0x5", "nip ring ls lists the channels"}, true},
		{[]string{"tap", name, "console"}, []string{"want a number, such as 0x1001"}, true},
		{[]string{"stat", "nothing"}, []string{`segment "nothing": no process has it that you may look at`, "nip ring ls lists the segments"}, true},
		{[]string{"stat"}, []string{"want a SEGMENT"}, true},
	} {
		text, err := run(test.words...)
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("%q printed %q, want %q in it", test.words, text, want)
			}
		}
		if (err != nil) != test.fails {
			t.Errorf("%q: %v: %s", test.words, err, text)
		}
	}
	other, err := ion.Create(name, ion.Duplex(1, ion.Lane{SlotSize: 64, Slots: 2})...)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if text, err := run("stat", name); err == nil || !strings.Contains(text, "several segments have that name") {
		t.Errorf("two of one name: %v: %s", err, text)
	}
}
