// Package hostile runs programs in cells that do their worst to the host, beside others
// that want to go on with their work.
package hostile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
	"nipcells/test/rig"
)

func TestMain(m *testing.M) {
	if os.Getenv("HOSTILE_SERVER") != "" {
		serve()
		return
	}
	rig.Main(m)
}

// limit is what the programs are given. They want more of everything.
const (
	fibers = 64
	budget = "fibers=64,memory=256M,cpu=50%,disk=128M"
)

// attack is one kind of testdata/hostile.c. told is what the ledger says of it; "": it is
// refused nothing, its CPU time is only capped.
type attack struct{ kind, told string }

var attacks = []attack{
	{"busy", ""}, {"forks", "fibers"}, {"daemons", "fibers"}, {"threads", "fibers"}, {"zombies", "fibers"}, {"execs", "fibers"},
	{"memory", "memory"}, {"disk", "disk"}, {"descriptors", ""}, {"pipes", ""}, {"signals", ""}, {"timers", ""}, {"questions", ""},
}

// seconds is how long each goes on.
func seconds() int {
	if os.Getenv("NIP_SOAK") != "" {
		return 30
	}
	return 2
}

// The host stays usable, no process is left, and the ledger tells.
func TestHost(t *testing.T) {
	r := stage(t)
	address := startServer(t)
	idle := beside(t, r.Base, address, func() {})
	t.Logf("idle: %+v", idle)
	for _, a := range attacks {
		t.Run(a.kind, func(t *testing.T) {
			c := r.Command("run", "--budget", budget, "hostile", a.kind, strconv.Itoa(seconds()+60))
			var stderr bytes.Buffer
			c.Stderr = &stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Process.Kill() }() // it has ended, if all went well
			ended := make(chan error, 1)
			go func() { ended <- c.Wait() }()
			fiber, most := fiberOf(t, r), 0
			v := beside(t, r.Base, address, func() { most = max(most, counted(fiber)) })
			if most == 0 {
				t.Error("no process of the cell was seen")
			}
			// However busy it is with itself, it can be stopped, if its strikes have not ended it.
			stopped := r.Run("stop", "--time", "100ms", "hostile")
			select {
			case <-ended: // as it likes
			case <-time.After(5 * time.Second):
				t.Fatal("it has not ended")
			}
			if stopped.Code != 0 && !strings.Contains(stderr.String(), "the third strike ends it") {
				t.Errorf("status %d: %s%s", stopped.Code, stopped.Stderr, &stderr)
			}
			t.Logf("%+v, at most %d processes and threads", v, most)
			if most > fibers {
				t.Errorf("there were %d processes and threads, want %d at most", most, fibers)
			}
			rig.Until(t, 5*time.Second, "no process is left", func() bool { return running(fiber) == 0 })
			if told := strings.Contains(r.Must("ledger", "--json"), `"`+a.told+`"`); a.told != "" && !told {
				t.Errorf("the ledger does not tell of %s: %s", a.told, &stderr)
			}
			check(t, idle, v)
		})
	}
}

// check compares what the victims had with what they had alone. Where other tests run
// beside, so do they: the figures that count are those of NIP_SOAK, on a machine that has
// nothing else to do.
func check(t *testing.T, idle, v victims) {
	late, share := 100*time.Millisecond, 0.1
	if os.Getenv("NIP_SOAK") != "" {
		// The cell may have half a core of two.
		late, share = max(3*idle.late, 4*time.Millisecond), 0.8*0.75
	}
	if v.late > late {
		t.Errorf("one wake-up of a hundred came later than %v, want %v; alone %v", v.late, late, idle.late)
	}
	if v.served < share*idle.served {
		t.Errorf("the server answered %.0f requests a second, want %.0f; alone %.0f", v.served, share*idle.served, idle.served)
	}
}

// victims is how others fared: how late the probe was woken in one case of a hundred, and
// how many requests a second the server answered.
type victims struct {
	late   time.Duration
	served float64
}

// beside measures the victims for some seconds, and calls watch all the while.
func beside(t *testing.T, dir, address string, watch func()) victims {
	t.Helper()
	probe := exec.Command(dir+"/probe", strconv.Itoa(seconds()))
	var told bytes.Buffer
	probe.Stdout = &told
	if err := probe.Start(); err != nil {
		t.Fatal(err)
	}
	begin, answers := time.Now(), 0
	end := begin.Add(time.Duration(seconds()) * time.Second)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		client := http.Client{Timeout: 10 * time.Second}
		for time.Now().Before(end) {
			reply, err := client.Get("http://" + address)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, reply.Body)
			reply.Body.Close()
			answers++
		}
	}()
	for time.Now().Before(end) {
		watch()
		time.Sleep(2 * time.Millisecond)
	}
	<-asked
	served := float64(answers) / time.Since(begin).Seconds()
	if err := probe.Wait(); err != nil {
		t.Fatal(err)
	}
	var p50, p99, worst int
	if _, err := fmt.Sscanf(told.String(), "p50 %d p99 %d worst %d", &p50, &p99, &worst); err != nil {
		t.Fatalf("%v: %q", err, &told)
	}
	return victims{time.Duration(p99) * time.Microsecond, served}
}

// each calls f for each process of a cell.
func each(fiber uint32, f func(pid int)) {
	_ = wall.EachProcess(func(pid int) { // without /proc there are none to be seen, and the test says so
		if got, ok := wall.MarkOf(pid); ok && got == fiber {
			f(pid)
		}
	})
}

// counted counts the processes and threads of a cell.
func counted(fiber uint32) (n int) {
	each(fiber, func(pid int) {
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/task", pid), &st) == nil {
			n += max(int(st.Nlink)-2, 1)
		}
	})
	return n
}

// running counts the processes of a cell that are not only left to be waited for.
func running(fiber uint32) (n int) {
	each(fiber, func(pid int) {
		if _, alive := rig.FindProcess(pid); alive {
			n++
		}
	})
	return n
}

// fiberOf waits for the one cell that runs below a root.
func fiberOf(t *testing.T, r *rig.Root) (fiber uint32) {
	t.Helper()
	rig.Until(t, 10*time.Second, "a cell runs", func() bool {
		var list []struct{ Fiber string }
		if err := json.Unmarshal([]byte(r.Must("ps", "--json")), &list); err != nil || len(list) != 1 {
			return false
		}
		id, err := strconv.ParseUint(list[0].Fiber, 16, 32)
		fiber = uint32(id)
		return err == nil
	})
	return fiber
}

// stage is a root with the package "hostile", and the probe in its base.
func stage(t *testing.T) *rig.Root {
	t.Helper()
	r := rig.NewRoot(t)
	tree := r.Base + "/tree"
	if err := os.MkdirAll(tree+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"hostile": tree + "/bin/hostile", "probe": r.Base + "/probe"} {
		source := filepath.Join(rig.Source(), "test/hostile/testdata", name+".c")
		c := exec.Command("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result", "-static", "-pthread", "-o", to, source)
		if text, err := c.CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v: %s", err, text)
		}
	}
	r.Must("graft", "-q", "dir:"+tree, "--name", "hostile", "--version", "1", "-o", r.Base+"/hostile.npk")
	r.Must("install", "-q", r.Base+"/hostile.npk")
	return r
}

// startServer starts this program as a small HTTP server of its own process, and returns
// its address.
func startServer(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), "HOSTILE_SERVER=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() // it runs until then
		_ = c.Wait()
	})
	var address string
	if _, err := fmt.Fscanln(out, &address); err != nil {
		t.Fatal(err)
	}
	return address
}

func serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, strings.Repeat("x", 1000)) })))
}

// Who does not leave off is warned, demoted and ended, and the ledger says why. A burst is
// no attack.
func TestStrikes(t *testing.T) {
	r := stage(t)
	got := r.Run("run", "--budget", budget, "hostile", "forks", "60")
	if got.Code != 137 || got.Took > 30*time.Second {
		t.Errorf("status %d after %v", got.Code, got.Took)
	}
	for _, want := range []string{"the first strike", "the second strike makes it gravity", "the third strike ends it"} {
		if !strings.Contains(got.Stderr, want) {
			t.Errorf("no %q: %s", want, got.Stderr)
		}
	}
	ledger := r.Must("ledger", "--json")
	for _, want := range []string{`"warn"`, `"demote"`, `"terminate"`} {
		if !strings.Contains(ledger, want) {
			t.Errorf("the ledger has no %s", want)
		}
	}
	if got := r.Run("run", "--budget", budget, "hostile", "forks", "2"); got.Code != 0 || strings.Contains(got.Stderr, "strike") {
		t.Errorf("a burst: status %d, %s", got.Code, got.Stderr)
	}
}
