// Package run is the verb run: flags in, a cell's exit status out. It is apart
// from the other verbs because its start-up time is the product's: what it
// imports does no work when a program starts. Both programs that hold it, nip's
// front (cmd/nip/front) and the whole nip (cmd/nip), call Main.
package run

import (
	"errors"
	"fmt"
	"io"
	"os"

	"nipcells/internal/capability"
	"nipcells/internal/cell"
	"nipcells/internal/hier"
	"nipcells/internal/plan"
	"nipcells/internal/wall"
)

// Failed is nip's exit status when it could not start the program, or lost it.
const Failed = 125

// ExecAdvice is what to do about a program that the kernel would not execute.
const ExecAdvice = "nip verify shows whether the package is whole, nip doctor whether this host can run cells"

// Program is what Main needs of the program that it is part of.
type Program struct {
	// Plan returns the launch plan of a package.
	Plan func(own *hier.Root, name string) (*plan.Plan, error)
	// Report tells the person of an error.
	Report func(w io.Writer, err error)
	// Help prints what the verb is for.
	Help func() int
	// Lookup finds the addresses of a host; nil: it cannot be done here.
	Lookup func(name string) ([]capability.Addr, error)
	// CreateRoot allows to make the person's root.
	CreateRoot bool
}

// Main runs a command line of nip's, the words after "nip", if it is one for
// this package: run, or nip calling itself. ok is false for all others.
func (p Program) Main(args []string) (status int, ok bool) {
	if rest, ok := Cut(args); ok {
		return p.run(rest), true
	}
	if len(args) > 0 {
		switch args[0] {
		case guardVerb:
			return guardMain(args[1:]), true
		case detachedVerb:
			return p.detachedMain(args[1:]), true
		case ToolVerb:
			return toolMain(args[1:]), true
		}
	}
	return 0, false
}

func (p Program) run(args []string) int {
	o, err := Parse(args)
	if errors.Is(err, ErrHelp) {
		return p.Help()
	}
	if err != nil {
		p.Report(os.Stderr, err)
		return Failed
	}
	if o.detach {
		return p.runDetached(args)
	}
	return p.start(o, os.Stderr, func(*cell.Options) {})
}

// start starts the cell and waits for it. What nip has to say goes to messages;
// adjust has the last word on how the cell is started.
func (p Program) start(o *Options, messages io.Writer, adjust func(*cell.Options)) int {
	options, err := p.cellOptions(o, messages)
	if err == nil {
		adjust(options)
		var counts *statistics
		if o.stats {
			counts = newStatistics(options)
		}
		if err = o.learn.learning(options, o.target, messages); err == nil {
			var status int
			if status, err = cell.Run(*options); err == nil {
				counts.print(messages)
				return status
			}
		}
	}
	p.Report(messages, err)
	return cell.ExitStatus(err)
}

// cellOptions turns flags into what package cell needs.
func (p Program) cellOptions(o *Options, messages io.Writer) (*cell.Options, error) {
	root, err := o.ownRoot(p.CreateRoot)
	if err != nil {
		return nil, err
	}
	name, command := o.packageAndCommand()
	plan, err := p.Plan(root, name)
	if err != nil {
		return nil, err
	}
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "/" // removed or out of sight: relative paths mean nothing then
	}
	changes, err := o.changes(cwd)
	if err != nil {
		return nil, err
	}
	env, err := o.environment()
	if err != nil {
		return nil, err
	}
	uid, gid, other, err := o.credentials()
	if err != nil {
		return nil, err
	}
	options := &cell.Options{
		Root: root, Plan: plan, Command: command, Args: o.args, Unveil: changes.Unveil, Pledge: changes.Pledge,
		Replace: changes.SetsPledge, Budget: changes.Budget, Net: changes.Net, Lookup: p.Lookup, Env: env, Cwd: o.cwd, Deny: o.deny, Hide: true, Degraded: o.degraded,
		Report: reportTo(messages), Guard: []string{"nip", guardVerb},
	}
	if other {
		options.User = &wall.Identity{UID: uid, GID: gid}
	}
	return options, nil
}

// reportTo writes the supervisor's lines.
func reportTo(w io.Writer) func(string) {
	return func(line string) { fmt.Fprintln(w, "nip: "+line) }
}
