package wall

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Check is one thing that a cell needs of the host.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"` // what to do if it is not OK
}

// Checks looks at what the kernel offers to cells. It changes nothing.
func Checks() []Check {
	return []Check{checkKernel(), checkLandlock(), checkSeccomp(), checkMark(), checkPidfd()}
}

func checkKernel() Check {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Check{Name: "kernel", Detail: err.Error()}
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	fmt.Sscanf(release, "%d.%d", &major, &minor) // zeroes if it is no version: then too old
	return Check{"kernel", major > 6 || major == 6 && minor >= 12, "Linux " + release, "cells need " + minABINames + " or newer"}
}

func checkLandlock() Check {
	v, err := LandlockABI()
	if err != nil {
		return Check{"landlock", false, err.Error(), "boot with lsm=landlock,… and a kernel that has CONFIG_SECURITY_LANDLOCK"}
	}
	c := Check{"landlock", v >= MinABI, fmt.Sprintf("version %d", v), ""}
	if !c.OK {
		c.Advice = "missing: " + strings.Join(Lacks(v), "; ") + "; use a newer kernel, or nip run --allow-degraded"
	}
	return c
}

// checkSeccomp asks for the one action that a filter of ours needs beside the
// plain ones (seccomp(2), SECCOMP_GET_ACTION_AVAIL).
func checkSeccomp() Check {
	c := Check{"seccomp", actionAvailable(uint32(Ask)), "filters with a listener", "use a kernel with CONFIG_SECCOMP_FILTER"}
	if !c.OK {
		c.Detail = "no " + c.Detail
	}
	return c
}

func checkMark() Check {
	var l unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, nil, &l); err != nil {
		return Check{Name: "mark", Detail: err.Error()}
	}
	if fiber, inside := FiberOf(l); inside {
		return Check{"mark", false, fmt.Sprintf("this is cell %08x itself", fiber), "run nip outside of cells"}
	}
	return Check{"mark", l.Max >= markHard+1<<16, fmt.Sprintf("RLIMIT_MSGQUEUE allows %d bytes, a cell needs %d", l.Max, markHard+1<<16),
		"raise the hard limit: ulimit -Hq 819200, or msgqueue in /etc/security/limits.conf"}
}

func checkPidfd() Check {
	fd, err := unix.PidfdOpen(unix.Gettid(), unix.PIDFD_THREAD)
	if err != nil {
		return Check{"pidfd", false, "no descriptors of threads: " + err.Error(), "cells need " + minABINames + " or newer"}
	}
	unix.Close(fd)
	return Check{"pidfd", true, "descriptors of threads", ""}
}
