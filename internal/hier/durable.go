package hier

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// WriteFile writes a new file of the caller's mode, whatever the umask, and makes
// its contents survive a power cut; SyncDir does so with its name. A file that is
// there already is an error (fs.ErrExist).
func WriteFile(path string, b []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// SyncDir makes the entries of a directory survive a power cut.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	d.Close() // was only synced
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
