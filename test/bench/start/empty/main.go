// Command empty is what the Go runtime alone costs.
package main

func main() {}
