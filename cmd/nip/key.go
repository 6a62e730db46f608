package main

import (
	"crypto/ed25519"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"nipcells/internal/hier"
	"nipcells/internal/keys"
	"nipcells/internal/ledger"
)

func newKeyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Show the own key, and say whose packages are trusted",
		Long: `Packages are signed. Those signed with the own key or with a key that was added here
are installed; all others are refused.`,
		Example: `  nip key show > me.pub
  nip key add friend.pub
  nip key list
  nip key remove 5f3a90c2`,
		Args: args(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the trusted keys",
		Example: "  nip key list --json",
		Args:    args(0, 0, ""),
		RunE:    func(*cobra.Command, []string) error { return a.listKeys() },
	}
	c.AddCommand(&cobra.Command{
		Use:     "show",
		Short:   "Print the own public key; it is made if there is none",
		Example: "  nip key show > me.pub",
		Args:    args(0, 0, ""),
		RunE:    func(*cobra.Command, []string) error { return a.showKey() },
	}, a.jsonFlag(list), &cobra.Command{
		Use:     "add KEY|FILE",
		Short:   "Trust packages signed with a key",
		Example: "  nip key add friend.pub\n  nip key add 'nip-ed25519 8MXbwmzdGXvgAD1dOb1Mzjy5gc7hF64WvzJ2l0fDxeM= friend'",
		Args:    args(1, 1, "a KEY or the FILE that holds it"),
		RunE:    func(_ *cobra.Command, words []string) error { return a.addKey(words[0]) },
	}, &cobra.Command{
		Use:     "remove ID",
		Short:   "Trust a key no longer; what is installed stays",
		Example: "  nip key remove 5f3a90c2",
		Args:    args(1, 1, "the ID of a key"),
		RunE:    func(_ *cobra.Command, words []string) error { return a.removeKey(words[0]) },
	})
	return c
}

// ownKey returns the key that signs what is made here.
func ownKey(r *hier.Root) (ed25519.PrivateKey, error) {
	if err := r.Make("Nexus/keys"); err != nil {
		return nil, err
	}
	return keys.Own(r.Keys())
}

// signingRoot returns the root whose own key signs packages. Nothing but the
// place of the key is made below it.
func (a *app) signingRoot() (*hier.Root, error) {
	r, err := a.openRoot()
	if err != nil {
		return a.createRoot()
	}
	return r, nil
}

func (a *app) showKey() error {
	r, err := a.signingRoot()
	if err != nil {
		return err
	}
	if _, err := ownKey(r); err != nil {
		return err
	}
	k, _, err := keys.OwnPublic(r.Keys())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, k)
	return err
}

// keyLine is a key as --json prints it.
type keyLine struct {
	ID      string `json:"id"`
	Own     bool   `json:"own"`
	Key     string `json:"key"`
	Comment string `json:"comment"`
}

func (a *app) listKeys() error {
	r, err := a.openRoot()
	if err != nil {
		return err
	}
	lines := []keyLine{}
	own, ok, err := keys.OwnPublic(r.Keys())
	if err != nil {
		return err
	}
	if ok {
		lines = append(lines, keyLine{own.ID(), true, own.String(), own.Comment})
	}
	trusted, err := keys.Trusted(r.Keys())
	if err != nil {
		return err
	}
	for _, k := range trusted {
		lines = append(lines, keyLine{k.ID(), false, k.String(), k.Comment})
	}
	if a.json {
		return writeJSON(a.out, lines)
	}
	var rows [][]string
	for _, l := range lines {
		whose := "trusted"
		if l.Own {
			whose = "own"
		}
		rows = append(rows, []string{l.ID, whose, l.Comment})
	}
	return writeTable(a.out, []string{"ID", "WHOSE", "COMMENT"}, rows)
}

// readKey reads a public key given as text or as the name of a file.
func readKey(word string) (keys.Key, error) {
	if k, err := keys.ParsePublic(word); err == nil {
		return k, nil
	}
	b, err := os.ReadFile(word)
	if os.IsNotExist(err) {
		return keys.Key{}, fmt.Errorf("key %q: no such file, and %w", word, keys.ErrSyntax)
	}
	if err != nil {
		return keys.Key{}, err
	}
	k, err := keys.ParsePublic(string(b))
	if err != nil {
		return keys.Key{}, fmt.Errorf("read %s: %w", word, err)
	}
	return k, nil
}

func (a *app) addKey(word string) error {
	k, err := readKey(word)
	if err != nil {
		return err
	}
	r, err := a.createRoot()
	if err != nil {
		return err
	}
	if err := trustKey(r, k); err != nil {
		return err
	}
	a.say("packages signed with %s (%s) are trusted now", k.ID(), printable(k.Comment))
	return a.seal(r)
}

// trustKey adds a key and records it.
func trustKey(r *hier.Root, k keys.Key) error {
	if err := keys.Add(r.Keys(), k); err != nil {
		return err
	}
	_, err := ledger.Open(r.Ledger()).AppendSync("trust", ledger.Text("id", k.ID()), ledger.Text("key", k.String()))
	return err
}

func (a *app) removeKey(which string) error {
	r, err := a.createRoot()
	if err != nil {
		return err
	}
	k, err := keys.Remove(r.Keys(), which)
	if err != nil {
		return err
	}
	if _, err := ledger.Open(r.Ledger()).AppendSync("distrust", ledger.Text("id", k.ID()), ledger.Text("key", k.String())); err != nil {
		return err
	}
	a.say("packages signed with %s (%s) are refused from now on", k.ID(), printable(k.Comment))
	return a.seal(r)
}

// seal signs what the ledger holds so far. Verbs that change something call it
// last.
func (a *app) seal(r *hier.Root) error {
	l := ledger.Open(r.Ledger())
	if !l.Unsealed() {
		return nil
	}
	key, err := ownKey(r)
	if err != nil {
		return err
	}
	_, err = l.Seal(keys.Sealer(key))
	return err
}
