package view_test

import "golang.org/x/sys/unix"

const sysNewfstatat = unix.SYS_FSTATAT

func oldNames() map[uint32]string { return nil }
