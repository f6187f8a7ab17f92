// Follows /subscribe, as the library's manual shows it (plain) or as our page says (set).
//
// A line for each event: `event [TYPE, ID, LENGTH OF DATA]`.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	r3 "github.com/r3labs/sse/v2"
	"github.com/tmaxmax/go-sse"
)

func show(kind, id string, length int) {
	line, _ := json.Marshal([]any{kind, id, length})
	fmt.Println("event", string(line))
}

// The loop of one's own.
func againAndAgain(follow func() error) {
	for {
		err := follow()
		fmt.Fprintln(os.Stderr, "it ended:", err)
		time.Sleep(500 * time.Millisecond)
	}
}

func r3labs() {
	client := r3.NewClient(url)
	if how == "set" {
		client = r3.NewClient(url, r3.ClientMaxBufferSize(16<<20))
	}
	client.Headers["Authorization"] = "Bearer " + token
	follow := func() error {
		return client.SubscribeRaw(func(event *r3.Event) {
			if how == "plain" || len(event.Data) > 0 {
				show(string(event.Event), string(event.ID), len(event.Data))
			}
		})
	}
	if how == "set" {
		againAndAgain(follow)
	}
	check(follow())
}

func tmaxmax() {
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	check(err)
	request.Header.Set("Authorization", "Bearer "+token)
	connection := sse.NewConnection(request)
	if how == "set" {
		connection.Buffer(make([]byte, 64<<10), 16<<20)
	}
	connection.SubscribeToAll(func(event sse.Event) {
		show(event.Type, event.LastEventID, len(event.Data))
	})
	if how == "set" {
		againAndAgain(connection.Connect)
	}
	check(connection.Connect())
}
