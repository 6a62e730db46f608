package main

import (
	"context"
	"net"
	"time"

	"nipcells/internal/capability"
)

// lookupPatience is how long a name of a rule is looked for before its cell starts
// without.
const lookupPatience = 5 * time.Second

// lookup finds the addresses of a host as this host does.
func lookup(name string) ([]capability.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupPatience)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	list := make([]capability.Addr, len(found))
	for i, a := range found {
		list[i] = capability.Addr(a.As16())
	}
	return list, nil
}
