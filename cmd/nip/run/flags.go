package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
)

// runOptions is what the flags of `nip run` say, not yet interpreted.
type runOptions struct {
	root     string
	quiet    bool
	unveil   []string
	pledge   string
	env      []string
	user     string
	budget   string
	deny     bool
	degraded bool
	detach   bool
	cwd      string

	target    string   // PACKAGE[/COMMAND]
	args      []string // the program's
	pledgeSet bool
}

// newRunFlags returns the flags of `nip run`, which fill o. The verb and its
// manual page share them.
func newRunFlags(o *runOptions) *pflag.FlagSet {
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.SetInterspersed(false) // what follows the package is the program's
	f.SortFlags = false
	f.StringArrayVar(&o.unveil, "unveil", nil, "make `PATH[:rwxc]` visible in the cell: read, write, execute, create (default r); may be repeated")
	f.StringVar(&o.pledge, "pledge", "", "what the program may do, instead of what its package asks: `LIST` of STDIO, RPATH, WPATH, CPATH, FATTR, INET, EXEC, PROC, with commas; -WORD takes a part away; NONE")
	f.StringArrayVar(&o.env, "env", nil, "set the environment variable `NAME=VALUE`, or pass NAME on from here; may be repeated")
	f.StringVar(&o.budget, "budget", "", "`LIMITS` such as memory=256M,fibers=64,cpu=50%,disk=1G,io=20M/s,spectrum=gravity; they only narrow")
	f.StringVar(&o.cwd, "cwd", "", "start in the `DIRECTORY` (default: the current one if it is visible in the cell, else the home)")
	f.StringVar(&o.user, "user", "", "as root: run as `UID[:GID]`, or as the user of that name")
	f.BoolVar(&o.deny, "deny", false, "answer what the pledge forbids with an error instead of killing the process")
	f.BoolVar(&o.degraded, "allow-degraded", false, "run on a kernel that cannot enforce everything, and say what is missing")
	f.BoolVarP(&o.detach, "detach", "d", false, "print the fiber-id and go on in the background; see nip logs, nip stop")
	return f
}

// addGlobalFlags adds the flags that stand before or after every verb.
func addGlobalFlags(f *pflag.FlagSet, root *string, quiet *bool) {
	f.StringVar(root, "root", "", "`DIRECTORY` of the installation (default: $NIP_ROOT, else / for root, else $XDG_DATA_HOME/nexus)")
	f.BoolVarP(quiet, "quiet", "q", false, "say nothing but errors and results")
}

// parseRun reads the arguments of `nip run`. The error is a *usageError, or
// pflag.ErrHelp if help is asked for.
func parseRun(args []string) (*runOptions, error) {
	o := new(runOptions)
	f := newRunFlags(o)
	addGlobalFlags(f, &o.root, &o.quiet)
	f.Usage = func() {}
	if err := f.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil, pflag.ErrHelp
	} else if err != nil {
		return nil, &usageError{verb: "run", err: err}
	}
	rest := f.Args()
	if len(rest) == 0 {
		return nil, &usageError{verb: "run", err: errors.New("no package given")}
	}
	o.target, o.args = rest[0], rest[1:]
	if len(o.args) > 0 && o.args[0] == "--" {
		o.args = o.args[1:]
	}
	o.pledgeSet = f.Changed("pledge")
	return o, nil
}

// packageAndCommand splits PACKAGE[/COMMAND].
func (o *runOptions) packageAndCommand() (pkg, command string) {
	pkg, command, _ = strings.Cut(o.target, "/")
	return pkg, command
}

// openRoot returns the root that the flags and the environment name.
func (o *runOptions) openRoot() (*hier.Root, error) { return openRoot(o.root) }

// changes returns what the flags change of the package's rights. Relative paths
// count from cwd.
func (o *runOptions) changes(cwd string) (c capability.Changes, err error) {
	if o.pledgeSet {
		c.SetsPledge = true
		if c.Pledge, err = capability.ParsePledgeList(o.pledge); err != nil {
			return c, &usageError{verb: "run", err: err}
		}
	}
	for _, s := range o.unveil {
		u, err := capability.ParseUnveil(s, cwd)
		if err != nil {
			return c, &usageError{verb: "run", err: err}
		}
		c.Unveil = append(c.Unveil, u)
	}
	if c.Budget, err = capability.ParseBudget(o.budget); err != nil {
		return c, &usageError{verb: "run", err: err}
	}
	return c, nil
}

// environment returns the variables of --env as NAME=VALUE. A bare NAME that is
// not set here is left out, as the person's shell would.
func (o *runOptions) environment() ([]string, error) {
	var out []string
	for _, e := range o.env {
		name, _, given := strings.Cut(e, "=")
		if name == "" || strings.IndexByte(e, 0) >= 0 {
			return nil, &usageError{verb: "run", err: fmt.Errorf("environment %q: want NAME=VALUE or NAME", e)}
		}
		if !given {
			value, ok := os.LookupEnv(name)
			if !ok {
				continue
			}
			e = name + "=" + value
		}
		out = append(out, e)
	}
	return out, nil
}

// credentials returns the user and group of --user; ok is false if the flag was
// not given. A user given by number without a group has the group that the
// system's user database says, else the one of the same number. Whether the
// caller may become that user is not decided here.
func (o *runOptions) credentials() (uid, gid int, ok bool, err error) {
	if o.user == "" {
		return 0, 0, false, nil
	}
	name, group, hasGroup := strings.Cut(o.user, ":")
	uid, err = parseID(name)
	gid = uid
	var known *user.User
	if err != nil {
		known, err = user.Lookup(name)
	} else if !hasGroup {
		known, _ = user.LookupId(name) // unknown numbers are fine
	}
	if err == nil && known != nil {
		if uid, err = parseID(known.Uid); err == nil {
			gid, err = parseID(known.Gid)
		}
	}
	if err == nil && hasGroup {
		gid, err = parseID(group)
	}
	if err != nil {
		return 0, 0, false, &usageError{verb: "run", err: fmt.Errorf("user %q: want UID[:GID] or the name of a user", o.user)}
	}
	return uid, gid, true, nil
}

// parseID reads a user or group id. The highest number means "no change" to the
// kernel and is none.
func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("id %q: want a number below 4294967295", s)
	}
	return int(n), nil
}
