package native_test

import "golang.org/x/sys/unix"

const (
	sysNewfstatat = unix.SYS_FSTATAT
	multiarch     = "aarch64-linux-gnu"
)

func oldNames() map[uint32]string { return nil }
