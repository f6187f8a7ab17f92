// Calls /rpc, with the work as JSON on stdin; writes what the library says of it, as JSON.
// test/clients/calls.py has both.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/jhttp"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/ybbus/jsonrpc/v3"
)

type call struct {
	Method string
	Params json.RawMessage
}

type work struct {
	Calls, Named, Batch []call
	Notification        call
}

type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data"`
}

type result map[string]any

func failed(code int, message string, data any) result {
	return result{"error": failure{code, message, data}}
}

func todo() (todo work) {
	check(json.NewDecoder(os.Stdin).Decode(&todo))
	return
}

func say(said map[string]any) {
	check(json.NewEncoder(os.Stdout).Encode(said))
}

// What goes wrong with a notification, in words.
func noted(err error) any {
	if err != nil {
		return err.Error()
	}
	return nil
}

func each(calls []call, one func(call) result) []result {
	results := []result{}
	for _, call := range calls {
		results = append(results, one(call))
	}
	return results
}

func ybbus() {
	work, ctx := todo(), context.Background()
	client := jsonrpc.NewClientWithOpts(url, &jsonrpc.RPCClientOpts{
		CustomHeaders: map[string]string{"Authorization": "Bearer " + token},
	})
	shown := func(response *jsonrpc.RPCResponse) result {
		if response.Error != nil {
			return failed(response.Error.Code, response.Error.Message, response.Error.Data)
		}
		return result{"result": response.Result}
	}
	one := func(call call) result {
		response, err := client.CallRaw(ctx, &jsonrpc.RPCRequest{Method: call.Method, Params: call.Params, JSONRPC: "2.0"})
		if err != nil {
			return failed(0, err.Error(), nil)
		}
		return shown(response)
	}
	calls, named := each(work.Calls, one), each(work.Named, one)
	requests := jsonrpc.RPCRequests{}
	for _, call := range work.Batch {
		requests = append(requests, &jsonrpc.RPCRequest{Method: call.Method, Params: call.Params})
	}
	together := []result{}
	responses, err := client.CallBatch(ctx, requests)
	check(err)
	for n := range requests {
		together = append(together, shown(responses.GetByID(n)))
	}
	say(map[string]any{"calls": calls, "named": named, "batch": together, "notification": "none"})
}

type bearer struct{}

func (bearer) Do(request *http.Request) (*http.Response, error) {
	request.Header.Set("Authorization", "Bearer "+token)
	return http.DefaultClient.Do(request)
}

func jrpc2Calls() {
	work, ctx := todo(), context.Background()
	client := jrpc2.NewClient(jhttp.NewChannel(url, &jhttp.ChannelOptions{Client: bearer{}}), nil)
	shown := func(response *jrpc2.Response, err error) result {
		var refused *jrpc2.Error
		if errors.As(err, &refused) {
			return failed(int(refused.Code), refused.Message, refused.Data)
		} else if err != nil {
			return failed(0, err.Error(), nil)
		}
		return result{"result": json.RawMessage(response.ResultString())}
	}
	one := func(call call) result { return shown(client.Call(ctx, call.Method, call.Params)) }
	calls, named := each(work.Calls, one), each(work.Named, one)
	specs := []jrpc2.Spec{}
	for _, call := range work.Batch {
		specs = append(specs, jrpc2.Spec{Method: call.Method, Params: call.Params})
	}
	together := []result{}
	responses, err := client.Batch(ctx, specs)
	check(err)
	for _, response := range responses {
		if refused := response.Error(); refused != nil {
			together = append(together, shown(nil, refused))
		} else {
			together = append(together, shown(response, nil))
		}
	}
	err = client.Notify(ctx, work.Notification.Method, work.Notification.Params)
	say(map[string]any{"calls": calls, "named": named, "batch": together, "notification": noted(err)})
	time.Sleep(time.Second) // the notification is sent beside
}

func ethereum() {
	work, ctx := todo(), context.Background()
	client, err := rpc.DialOptions(ctx, url, rpc.WithHeader("Authorization", "Bearer "+token))
	check(err)
	arguments := func(call call) (list []any) {
		check(json.Unmarshal(call.Params, &list))
		return
	}
	shown := func(value json.RawMessage, err error) result {
		var refused rpc.Error
		if errors.As(err, &refused) {
			var data any
			if with, ok := err.(rpc.DataError); ok {
				data = with.ErrorData()
			}
			return failed(refused.ErrorCode(), err.Error(), data)
		} else if err != nil {
			return failed(0, fmt.Sprint(err), nil)
		}
		return result{"result": value}
	}
	one := func(call call) result {
		var value json.RawMessage
		err := client.CallContext(ctx, &value, call.Method, arguments(call)...)
		return shown(value, err)
	}
	calls := each(work.Calls, one)
	values, elements := make([]json.RawMessage, len(work.Batch)), []rpc.BatchElem{}
	for n, call := range work.Batch {
		elements = append(elements, rpc.BatchElem{Method: call.Method, Args: arguments(call), Result: &values[n]})
	}
	check(client.BatchCallContext(ctx, elements))
	together := []result{}
	for n, element := range elements {
		together = append(together, shown(values[n], element.Error))
	}
	err = client.Notify(ctx, work.Notification.Method, arguments(work.Notification)...)
	say(map[string]any{"calls": calls, "named": "none", "batch": together, "notification": noted(err)})
}
