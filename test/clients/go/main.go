// Go's clients: clients stream|call LIBRARY plain|set URL TOKEN.
package main

import (
	"fmt"
	"os"
)

var library, how, url, token string

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	program := os.Args[1]
	library, how, url, token = os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	map[string]func(){
		"stream r3labs/sse":             r3labs,
		"stream tmaxmax/go-sse":         tmaxmax,
		"call ybbus/jsonrpc":            ybbus,
		"call creachadair/jrpc2":        jrpc2Calls,
		"call ethereum/go-ethereum rpc": ethereum,
	}[program+" "+library]()
}
