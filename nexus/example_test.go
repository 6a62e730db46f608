package nexus_test

import (
	"log"

	"nipcells/nexus"
)

// A program that has opened what it needs keeps reading one directory, and nothing else.
func Example() {
	if err := nexus.Unveil("/srv/data:r"); err != nil {
		log.Fatal(err)
	}
	if err := nexus.Pledge("stdio rpath"); err != nil {
		log.Fatal(err)
	}
}
