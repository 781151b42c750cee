// A server and clients, a connection for each request.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d from %s", len(body), strings.Split(r.RemoteAddr, ":")[0])
	}))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	done := make(chan error)
	for n := 0; n < 20; n++ {
		go func(n int) {
			answer, err := client.Post("http://"+listener.Addr().String(), "text/plain", strings.NewReader(strings.Repeat("x", n*1000)))
			if err == nil {
				text, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				if want := fmt.Sprintf("%d from 127.0.0.1", n*1000); string(text) != want {
					err = fmt.Errorf("%q, not %q", text, want)
				}
			}
			done <- err
		}(n)
	}
	for n := 0; n < 20; n++ {
		check(<-done)
	}
	fmt.Println("ok")
}
