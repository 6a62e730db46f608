package programs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

// others are programs that live on what others do not: compilers and what they
// make, a shell with many small tools, a virtual machine, the network.
func others() []program {
	return []program{bash(), curl(), gcc(), makeProgram(), rsync(), java(), tmux()}
}

func bash() program {
	return program{
		name:   "bash",
		graft:  []string{"debian:bash", "--with", "coreutils"},
		shared: true,
		wait:   []string{"-c", "while read -r x; do :; done"},
		jobs: []job{
			{name: "coreutils", flags: work, args: []string{"-c", shellWork}, want: "(?s)^3 the.*sum 200010000", outside: "bash"},
			{name: "files", flags: work, args: []string{"-c", fileWork}, want: "(?s)^d/copy.*links 2", outside: "bash", file: "d/last", has: "HELLO WORLD"},
			{name: "processes", flags: work, args: []string{"-c", jobWork}, want: "^child 7\nterminated 143\n", outside: "bash"},
			{name: "locale", flags: []string{"--env", "LC_ALL=C.UTF-8"}, args: []string{"-c", `x=ßäπ; printf '%d %s\n' ${#x} "${x^^}"`}, want: "^3 ẞ?ß?ÄΠ$"},
		},
		more: []piece{{name: "pipes by name", run: pipesByName}, {name: "many that wait", run: manyThatWait}, {name: "job control", run: jobControl, held: true}},
		read: each("-c", `for p; do { read -r x || [ -n "$x" ]; } 2>/dev/null < "$p" && echo "READ $p"; done; :`, "bash"),
		list: each("-c", `for p; do for n in "$p"/*; do [ "$n" = "$p/*" ] || echo "READ $p"; done; done`, "bash"),
	}
}

const shellWork = `set -e -o pipefail; export LC_ALL=C
printf '%s\n' the cat saw the dog and the bird | sort | uniq -c | sort -k1,1rn -k2 | head -n 4 | tr -s ' '
declare -A seen; for w in b a b; do seen[$w]=$((${seen[$w]:-0} + 1)); done; for k in "${!seen[@]}"; do echo "$k=${seen[$k]}"; done | sort
mapfile -t lines < <(seq 5); echo "${#lines[@]} ${lines[*]: -2}"
paste -d, <(seq 3) <(seq 3 | tac) <<<unused
sum=0; while read -r n; do sum=$((sum + n)); done < <(seq 20000); echo "sum $sum"
printf 'hello world\n' | tee >(wc -c >&2) 2>/dev/null | sha256sum | cut -c1-16
seq 20000 | shuf --random-source=<(yes) | sort -n | md5sum
date -u -d @86400 +%F; printf abc | base64; echo one:two | tr a-z: 'A-Z '; expr 6 \* 7; numfmt --to=iec 1048576; factor 360
cat <<END | nl | fold -w 20 | expand
here is $(basename /a/b.c .c)
END
`

const fileWork = `set -e; export LC_ALL=C TZ=UTC0
cd "{work}"; mkdir -p d/sub; cp text d/copy; ln d/copy d/hard; ln -s copy d/soft; chmod 640 d/copy
touch -d '2020-02-02 02:02:02 UTC' d/copy; mv d/hard d/sub/hard; tr a-z A-Z < text > d/last
for f in d/*; do stat -c '%n %F %s' "$f"; done; stat -c '%a %y links %h' d/copy | cut -d. -f1,2; stat -c 'links %h' d/sub/hard
readlink d/soft; sha1sum < d/copy; sha1sum < d/sub/hard; du -b d/last | cut -f1; split -b 4 -d text d/part; cat d/part*; ls d; rm -r d/sub d/part*; ls d
truncate -s 100000 d/long; dd if=d/long of=d/dd bs=1000 count=7 status=none; wc -c d/dd; rm d/long d/dd; rmdir d 2>/dev/null || echo not empty
`

const jobWork = `(exit 7); echo "child $?"
sleep 60 & kill $!; wait $!; echo "terminated $?"
trap 'echo trapped' USR1; kill -USR1 $BASHPID; timeout 0.1 sleep 60; echo "timeout $?"
coproc tr a-z A-Z; echo coproc >&"${COPROC[1]}"; exec {COPROC[1]}>&-; cat <&"${COPROC[0]}"
seq 8 | while read -r n; do { echo "$((n * n))" & wait; }; done | sort -n | tail -n 1; exec -a other bash -c 'echo "$0"'
`

// pipesByName reads from process substitutions (bash opens /dev/fd/63) while every
// thread of the supervisor is interrupted as often as can be: an interrupted one
// could give the program its descriptor 0 instead.
func pipesByName(t *testing.T, w *world) {
	const times = 200
	c := w.command(nil, []string{"-c", fmt.Sprintf("for i in {1..%d}; do mapfile -t lines < <(echo 5); echo ${#lines[@]}${lines[0]}; done", times)})
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- c.Wait() }()
	signals, running := 0, true
	for running {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v\n%s", err, &stderr)
			}
			running = false
		default:
			tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.Process.Pid)) // none: it has ended
			for _, task := range tasks {
				if tid, err := strconv.Atoi(task.Name()); err == nil && unix.Tgkill(c.Process.Pid, tid, unix.SIGURG) == nil {
					signals++
				}
			}
		}
	}
	if got, want := stdout.String(), strings.Repeat("15\n", times); got != want {
		t.Errorf("beside %d signals it read\n%s%s", signals, got, &stderr)
	}
	if signals < times {
		t.Errorf("only %d signals were sent", signals)
	}
}

// manyThatWait opens more FIFOs that nobody writes to than the supervisor has descriptors
// for, which must still be able to do its work, and to end the cell.
func manyThatWait(t *testing.T, w *world) {
	prlimit, err := exec.LookPath("prlimit")
	if err != nil {
		t.Fatal(err)
	}
	c := w.command([]string{"--pledge", "STDIO,RPATH,WPATH,EXEC"}, []string{"-c", `cd /tmp; mkfifo f; for i in {1..120}; do read -r x < /proc/self/cwd/f & done 2>/dev/null
		sleep 1; echo made > /proc/self/cwd/new && echo "$(<new)" $(( $(jobs -pr | wc -l) > 3 )); exec 3<>/dev/tcp/127.0.0.1/9; echo no fault`})
	c.Args, c.Path = append([]string{"prlimit", "--nofile=256:256"}, c.Args...), prlimit
	got := rig.Run(t, c)
	if got.Stdout != "made 1\n" || got.Code != 137 || !strings.Contains(got.Stderr, "capability fault: bash") {
		t.Errorf("status %d, %q\n%s", got.Code, got.Stdout, got.Stderr)
	}
}

const hello = `#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void *count(void *n) { *(int *)n += 1; return NULL; }

int main(int argc, char **argv)
{
	int n = argc;
	pthread_t thread;
	if (pthread_create(&thread, NULL, count, &n) || pthread_join(thread, NULL))
		return 1;
	printf("hello world from %d: %.3f\n", n, sqrt(argc > 1 ? atof(argv[1]) : 2));
	return 0;
}
`

func gcc() program {
	return program{
		name:   "gcc",
		graft:  []string{"debian:gcc", "--keep", "--with", "libc6-dev"},
		shared: true,
		files:  map[string]string{"hello.c": hello},
		wait:   []string{"-E", "-"},
		jobs: []job{
			{name: "compile and link", flags: work, args: []string{"-O2", "-Wall", "-Werror", "-o", "{work}/hello", "{work}/hello.c", "-lm"}, file: "hello", has: "\x7fELF"},
			{name: "assemble and archive", flags: work, args: []string{"-O2", "-S", "-o", "{work}/hello.s", "{work}/hello.c"}, file: "hello.s", has: "main:"},
			{name: "mistakes", flags: work, args: []string{"-x", "c", "-fsyntax-only", "-Wno-all", "{work}/hello.c"}, want: "^$", outside: "gcc"},
		},
		more: []piece{{name: "what it made runs", held: true, run: func(t *testing.T, w *world) {
			// As what the host's own compiler makes of it.
			theirs := filepath.Join(w.dir, "theirs")
			if out, err := exec.Command("gcc", "-O2", "-o", theirs, filepath.Join(w.dir, "hello.c"), "-lm").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			want := rig.Run(t, exec.Command(theirs, "9"))
			if got := rig.Run(t, exec.Command(filepath.Join(w.dir, "hello"), "9")); got.Code != 0 || got.Stdout != want.Stdout || got.Stdout != "hello world from 3: 3.000\n" {
				t.Errorf("it said %q and %q, exit status %d, where the host's said %q", got.Stdout, got.Stderr, got.Code, want.Stdout)
			}
		}}},
		// ld says what it has read.
		read: alone(func(path string) []string {
			return []string{"-nostdlib", "-r", "-Wl,-t", "-Wl,-b,binary", "-o", "/tmp/out", path}
		}),
		told: "(?m)^/",
	}
}

// project are six C files with a header each that the next one needs, and a
// program that must run in the cell: so it needs no loader.
func project() map[string]string {
	files := map[string]string{"p/Makefile": `CFLAGS = -O1 -Wall -MMD
objects = $(patsubst %.c,%.o,$(sort $(wildcard *.c)))

all: program

program: $(objects)
	$(CC) -static -o $@ $(objects)

# In a cell a program is found by its whole name.
check: program
	$(CURDIR)/program

clean:
	rm -f program *.o *.d

-include $(wildcard *.d)
.PHONY: all check clean
`}
	main := "#include <stdio.h>\n#include \"a.h\"\nint main(void) { printf(\"%d\\n\", a(1)); return 0; }\n"
	names := []string{"a", "b", "c", "d", "e"}
	for i, n := range names {
		files["p/"+n+".h"] = "int " + n + "(int);\n"
		body, include := "x", "\n"
		if i+1 < len(names) {
			include, body = "#include \""+names[i+1]+".h\"\n", names[i+1]+"(x)"
		}
		files["p/"+n+".c"] = "#include \"" + n + ".h\"\n" + include + "int " + n + "(int x) { return 2 * " + body + "; }\n"
	}
	files["p/main.c"] = main
	return files
}

func makeProgram() program {
	execute := []string{"--unveil", "{work}:rwx"}
	return program{
		name:    "make",
		graft:   []string{"debian:make"},
		depends: []string{"gcc"},
		files:   project(),
		wait:    []string{"-f", "-", "--eval=all:;"},
		jobs:    []job{{name: "a rule", args: []string{"--eval=all:; @echo $$((6 * 7))"}, want: "^42$"}},
		more: []piece{
			{name: "project", held: true, run: func(t *testing.T, w *world) {
				build := []string{"-C", "{work}/p", "-j2"}
				first := w.run(t, work, build, "")
				outside := w.outside(t, "make", build, "")
				if first.Code != 0 || !slices.Equal(steps(first.Stdout), steps(outside.Stdout)) || len(steps(first.Stdout)) != 7 {
					t.Fatalf("exit status %d\n%s%s\noutside\n%s%s", first.Code, first.Stdout, first.Stderr, outside.Stdout, outside.Stderr)
				}
				if again := w.run(t, work, build, ""); again.Code != 0 || len(steps(again.Stdout)) != 0 || !strings.Contains(again.Stdout, "Nothing to be done") {
					t.Errorf("the second time: %q %q", again.Stdout, again.Stderr)
				}
				// b.c and c.c include what changes; then it is linked.
				w.root.Write(filepath.Join(w.dir, "p/c.h"), "int c(int x);\n", 0o644)
				if part := w.run(t, work, build, ""); part.Code != 0 || len(steps(part.Stdout)) != 3 {
					t.Errorf("after a change: %q %q", part.Stdout, part.Stderr)
				}
			}},
			{name: "run what was made", held: true, run: func(t *testing.T, w *world) {
				check := []string{"-s", "-C", "{work}/p", "check"}
				if res := w.run(t, execute, check, ""); res.Code != 0 || res.Stdout != "32\n" {
					t.Errorf("exit status %d, %q %q", res.Code, res.Stdout, res.Stderr)
				}
				if res := w.run(t, work, check, ""); res.Code == 0 || strings.Contains(res.Stdout, "32") {
					t.Errorf("without the right to execute: exit status %d, %q %q", res.Code, res.Stdout, res.Stderr)
				}
				if res := w.run(t, work, []string{"-C", "{work}/p", "clean"}, ""); res.Code != 0 {
					t.Errorf("clean: exit status %d, %q", res.Code, res.Stderr)
				}
				if left, err := filepath.Glob(filepath.Join(w.dir, "p", "*.[od]")); err != nil || len(left) != 0 {
					t.Errorf("left are %q, %v", left, err)
				}
			}},
		},
		read: alone(func(path string) []string {
			return []string{"--eval=$(if $(file <" + path + "),$(info READ " + path + "))", "--eval=all:;"}
		}),
		list: alone(func(dir string) []string {
			return []string{"--eval=$(if $(wildcard " + dir + "/*),$(info READ " + dir + "))", "--eval=all:;"}
		}),
	}
}

// steps are the commands of compilers that make has printed, in no order.
func steps(text string) []string {
	list := regexp.MustCompile(`(?m)^(cc|gcc) .*$`).FindAllString(text, -1)
	slices.Sort(list)
	return list
}

const javaSource = `import java.io.*;
import java.nio.file.*;
import java.util.concurrent.*;
import java.util.stream.*;

public class Hello {
    public static void main(String[] args) throws Exception {
        switch (args[0]) {
        case "hello":
            System.out.println("hello world");
            break;
        case "work":
            var pool = Executors.newFixedThreadPool(4);
            var sums = IntStream.range(0, 8).mapToObj(i -> pool.submit(() -> IntStream.range(0, 1000 * i).sum())).collect(Collectors.toList());
            int sum = 0;
            for (var s : sums) sum += s.get();
            pool.shutdown();
            byte[] digest = java.security.MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(Path.of(args[1], "text")));
            Files.writeString(Path.of(args[1], "java"), String.format("%d %064x", sum, new java.math.BigInteger(1, digest)));
            System.gc();
            break;
        case "wait":
            while (System.in.read() >= 0);
            break;
        case "read":
            for (int i = 1; i < args.length; i++) try (var f = new FileInputStream(args[i])) {
                f.read();
                System.out.println("READ " + args[i]);
            } catch (IOException e) {
                System.out.println(e.getMessage());
            }
            break;
        case "list":
            for (int i = 1; i < args.length; i++) {
                String[] names = new File(args[i]).list();
                if (names != null && names.length > 0) System.out.println("READ " + args[i]);
            }
        }
    }
}
`

func java() program {
	at := []string{"-cp", "/Data/apps/java", "Hello"}
	do := func(args ...string) []string { return append(slices.Clone(at), args...) }
	return program{
		name:   "java",
		graft:  []string{"debian:openjdk-17-jre-headless", "--name", "java"},
		shared: true,
		files:  map[string]string{"Hello.java": javaSource},
		wait:   do("wait"),
		jobs: []job{
			{name: "source", flags: work, args: []string{"{work}/Hello.java", "hello"}, want: "^hello world$"},
			{name: "compile", flags: work, args: []string{"-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", "{home}", "{work}/Hello.java"}, file: "~/Hello.class", has: "\xca\xfe\xba\xbe"},
			{name: "hello", args: do("hello"), want: "^hello world$"},
			{name: "with the smallest pledge", flags: []string{"--pledge", "STDIO,RPATH"}, args: do("hello"), want: "^hello world$"},
			{name: "threads and files", flags: work, args: do("work", "{work}"), file: "java", has: "69986000 a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"},
		},
		read: each(do("read")...),
		list: each(do("list")...),
	}
}

func tmux() program {
	return program{
		name:   "tmux",
		graft:  []string{"debian:tmux", "--with", "dash", "--with", "coreutils"},
		shared: true,
		wait:   []string{"-C", "-f", "/dev/null", "new-session", "sh"}, // commands come from its standard input
		jobs: []job{
			{name: "version", args: []string{"-V"}, want: "^tmux 3"},
			{name: "a session", flags: tmuxEnv, args: append(session("echo $((6 * 7)); tmux wait-for -S done"), "wait-for", "done", ";", "capture-pane", "-p", ";", "kill-server"), want: "(?m)^(. )?42$"},
			{name: "two windows", flags: tmuxEnv, args: append(session("tmux new-window 'cat > two; tmux wait-for -S done'; tmux send-keys -t :1 hello Enter C-d"),
				"wait-for", "done", ";", "kill-server"), file: "~/two", has: "hello\n"},
		},
		read: inSession(`for p in $PATHS; do { read -r x || [ -n "$x" ]; } 2>/dev/null < "$p" && echo "READ $p"; done`),
		list: inSession(`for p in $PATHS; do for n in "$p"/*; do [ "$n" = "$p/*" ] || echo "READ $p"; done; done`),
	}
}

// inSession has a server run a line of the shell about paths.
func inSession(line string) func(paths []string) [][]string {
	return func(paths []string) [][]string {
		words := []string{"-f", "/dev/null", "new-session", "-d", "sh", ";", "run-shell", "PATHS='" + strings.Join(paths, " ") + "'; { " + line + "; echo; } | tmux load-buffer -", ";",
			"show-buffer", ";", "kill-server"}
		return [][]string{words}
	}
}

var tmuxEnv = []string{"--env", "LC_ALL=C.UTF-8", "--env", "TERM=xterm"}

// session are the words that start a server with a session in which a line is typed.
func session(line string) []string {
	return []string{"-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh", ";", "send-keys", line, "Enter", ";"}
}

// sameTrees compares what two directories hold: names, modes, times, links, bytes.
func sameTrees(t *testing.T, a, b string) {
	t.Helper()
	one, two := describe(t, a), describe(t, b)
	if !slices.Equal(one, two) {
		t.Errorf("%s holds\n%s\n%s holds\n%s", a, strings.Join(one, "\n"), b, strings.Join(two, "\n"))
	}
}

func describe(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := strings.TrimPrefix(path, dir) + " " + info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + info.ModTime().String() + " " + sum(text)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " " + target
		}
		list = append(list, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// pattern is n bytes that do not repeat soon.
func pattern(n int) []byte {
	var b bytes.Buffer
	for x := uint32(1); b.Len() < n; x = x*1664525 + 1013904223 {
		b.WriteByte(byte(x >> 24))
	}
	return b.Bytes()
}
