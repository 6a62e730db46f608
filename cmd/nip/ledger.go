package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nipcells/internal/cid"
	"nipcells/internal/hier"
	"nipcells/internal/keys"
	"nipcells/internal/ledger"
)

type ledgerFlags struct {
	verify bool
	head   string
	last   int
}

func newLedgerCommand(a *app) *cobra.Command {
	var f ledgerFlags
	c := &cobra.Command{
		Use:   "ledger [list]",
		Short: "Show or check the record of installs, grants, starts and removals",
		Long: `Ledger lists the record of every install, grant, start, removal and fault. The
record is chained by hashes and sealed with your key.

With --verify it checks the whole chain and finds any edit, deletion, insertion or
reordering, and prints the head: the hash of the newest record. Who keeps a head
elsewhere can give it with --head later and also finds a cut end.`,
		Example: `  nip ledger --last 20
  nip ledger --json | grep '"kind": "install"'
  nip ledger --verify
  nip ledger --verify --head b0f4…`,
		Args: func(c *cobra.Command, words []string) error {
			if len(words) == 1 && words[0] == "list" {
				return nil
			}
			return args(0, 0, "")(c, words)
		},
		ValidArgs: []string{"list"},
		RunE: func(*cobra.Command, []string) error {
			r, err := a.openRoot()
			if err != nil {
				return err
			}
			l := ledger.Open(r.Ledger())
			if f.verify || f.head != "" {
				return a.verifyLedger(r, l, f)
			}
			return a.listLedger(l, f.last)
		},
	}
	c.Flags().BoolVar(&f.verify, "verify", false, "check the chain and the seals")
	c.Flags().StringVar(&f.head, "head", "", "a `HASH` printed by an earlier --verify: check that it is still there (implies --verify)")
	c.Flags().IntVar(&f.last, "last", 0, "show only the last `N` records")
	return a.jsonFlag(c)
}

// ledgerLine is a record as --json prints it.
type ledgerLine struct {
	Seq     uint64         `json:"seq,omitempty"`
	Time    time.Time      `json:"time,omitzero"`
	Kind    string         `json:"kind"`
	Fields  map[string]any `json:"fields,omitempty"`
	Hash    string         `json:"hash,omitempty"`
	Damaged int            `json:"damaged,omitempty"`
}

func (a *app) listLedger(l *ledger.Ledger, last int) error {
	var recs []ledger.Record
	err := l.Read(func(r ledger.Record) error {
		recs = append(recs, r)
		if last > 0 && len(recs) > 2*last {
			recs = append(recs[:0], recs[len(recs)-last:]...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if last > 0 && len(recs) > last {
		recs = recs[len(recs)-last:]
	}
	if a.json {
		lines := make([]ledgerLine, 0, len(recs))
		for _, r := range recs {
			lines = append(lines, jsonRecord(r))
		}
		return writeJSON(a.out, lines)
	}
	for _, r := range recs {
		if err := printRecord(a.out, r); err != nil {
			return err
		}
	}
	return nil
}

func jsonRecord(r ledger.Record) ledgerLine {
	if r.Damaged > 0 {
		return ledgerLine{Kind: "damaged", Damaged: r.Damaged}
	}
	line := ledgerLine{Seq: r.Seq, Time: r.Time, Kind: r.Kind, Hash: r.Hash.String(), Fields: map[string]any{}}
	for _, f := range r.Fields {
		if f.Number {
			line.Fields[f.Name] = f.Value
		} else {
			line.Fields[f.Name] = f.Text
		}
	}
	return line
}

func printRecord(w io.Writer, r ledger.Record) error {
	if r.Damaged > 0 {
		_, err := fmt.Fprintf(w, "(%d bytes that are no record)\n", r.Damaged)
		return err
	}
	var fields strings.Builder
	for _, f := range r.Fields {
		text := f.String()
		if r.Kind == ledger.KindSeal && len(text) > 16 {
			text = text[:16] + "…"
		}
		fmt.Fprintf(&fields, " %s=%s", f.Name, printable(text))
	}
	_, err := fmt.Fprintf(w, "%5d  %s  %-8s%s\n", r.Seq, r.Time.Local().Format("2006-01-02 15:04:05"), r.Kind, fields.String())
	return err
}

func (a *app) verifyLedger(r *hier.Root, l *ledger.Ledger, f ledgerFlags) error {
	o := ledger.VerifyOptions{Valid: keys.Valid}
	own, ok, err := keys.OwnPublic(r.Keys())
	if err != nil {
		return err
	}
	if ok {
		o.Keys = append(o.Keys, own.Public)
	}
	if f.head != "" {
		head, err := cid.Parse(f.head)
		if err != nil {
			return &usageError{verb: "ledger", err: fmt.Errorf("head %q: %w", f.head, err)}
		}
		o.Head = head
	}
	rep, err := l.Verify(o)
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.out, []map[string]any{{
			"head": rep.Head.Hash.String(), "records": rep.Records, "seals": rep.Seals, "unsealed": rep.Unsealed,
			"torn": rep.Torn, "torn_end": rep.OpenEnd,
		}})
	}
	if rep.Records == 0 {
		_, err := fmt.Fprintln(a.out, "ok: the ledger is empty")
		return err
	}
	_, err = fmt.Fprintf(a.out, "ok: %s, %s, %d not sealed yet\nhead %s\n",
		count(rep.Records, "record"), count(rep.Seals, "seal"), rep.Unsealed, rep.Head.Hash)
	if n := rep.Torn; n > 0 {
		a.say("note: %s torn by a power cut or a kill, and closed off since", count(n, "record"))
	}
	if rep.OpenEnd > 0 {
		a.say("note: the last %d bytes are torn, as by a power cut or a kill; the next record closes them off", rep.OpenEnd)
	}
	return err
}
