package cell

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// init keeps the program's first goroutine on the process's first thread, which
// "headless" ends.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "in-cell" {
		runtime.LockOSThread()
	}
}

// program is what runs in the cells under test: words are a command and its
// arguments.
func program(words []string) int {
	switch words[0] {
	case "exit":
		n, _ := strconv.Atoi(words[1])
		return n
	case "die":
		n, _ := strconv.Atoi(words[1])
		unix.Kill(unix.Getpid(), syscall.Signal(n))
		sleep()
	case "say": // where it is, and its environment
		wd, err := os.Getwd()
		fmt.Println(wd, err)
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "stay":
		fmt.Println("here")
		sleep()
	case "descriptors":
		for fd := range 1024 {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				fmt.Print(fd, " ")
			}
		}
		fmt.Println()
	case "leave": // what the words do goes on in an orphan while we end
		orphan(words[1:])
		bufio.NewReader(os.Stdin).ReadByte()
		return 7
	case "start": // for orphan
		child(words[1:])
	case "headless": // the first thread ends, another lives on
		ready := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(ready)
			sleep()
		}()
		<-ready
		fmt.Println(unix.Getpid())
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	case "chain": // a process that forks a successor and ends, again and again
		fmt.Println("begun")
		fork(3)
	case "fault":
		unix.RawSyscall(unix.SYS_REBOOT, 0, 0, 0)
	case "faults": // N times
		n, _ := strconv.Atoi(words[1])
		for range n {
			unix.RawSyscall(unix.SYS_REBOOT, 0, 0, 0)
		}
	case "read", "write":
		flags := map[string]int{"read": unix.O_RDONLY, "write": unix.O_WRONLY}[words[0]]
		fd, err := unix.Open(words[1], flags, 0)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		unix.Close(fd)
		fmt.Println("done")
	case "symlink":
		fmt.Println(os.Symlink(words[1], words[2]))
	case "chmod":
		mode, _ := strconv.ParseUint(words[2], 8, 32)
		fmt.Println(unix.Chmod(words[1], uint32(mode)))
	case "setxattr":
		fmt.Println(unix.Setxattr(words[1], words[2], []byte("value"), 0))
	case "touch":
		fmt.Println(unix.UtimesNanoAt(unix.AT_FDCWD, words[1], []unix.Timespec{{Sec: 7}, {Sec: 7}}, 0))
	case "flock":
		fd, err := unix.Open(words[1], unix.O_RDONLY, 0)
		if err == nil {
			err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
		}
		fmt.Println(err)
	case "locks":
		n, _ := strconv.Atoi(words[1])
		locks(n)
	default:
		return 99
	}
	return 0
}

// fork makes width chains of processes of which each forks the next and ends.
// Between the forks nothing is called but the kernel: what is forked has none of
// the runtime's threads.
func fork(width int) {
	for {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		switch {
		case errno != 0:
			continue // the host has no more processes at the moment
		case pid == 0 && width > 1:
			width--
		case pid != 0 && width <= 1:
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		case pid != 0:
			width--
		}
	}
}

// sleep never returns, and leaves the thread where it is.
func sleep() {
	for {
		unix.Pause()
	}
}

// child starts the words as a process in a session of its own and returns with
// its first line of output, which it prints.
func child(words []string) {
	c := exec.Command(os.Getenv("SELF"))
	c.Args = append([]string{"program", "in-cell"}, words...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		fmt.Println("start a child:", err)
		os.Exit(98)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		fmt.Println("hear of a child:", err)
		os.Exit(97)
	}
	fmt.Print(line)
}

// orphan starts the words as the child of a child that ends.
func orphan(words []string) { child(append([]string{"start"}, words...)) }

// locks has n threads wait for a lock that is never free, and says so when one
// of them is refused or all are there.
func locks(n int) {
	const path = "lock"
	open := func() int {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
		if err != nil {
			fmt.Println("open the lock:", err)
			os.Exit(96)
		}
		return fd
	}
	if err := unix.Flock(open(), unix.LOCK_EX); err != nil {
		fmt.Println("take the lock:", err)
		os.Exit(95)
	}
	other := open()
	refused := make(chan error, n)
	for range n {
		go func() {
			runtime.LockOSThread()
			refused <- unix.Flock(other, unix.LOCK_EX)
		}()
	}
	fmt.Println("refused:", <-refused)
	sleep()
}
