// A server and clients, a connection for each request; or one of them: `serve ADDRESS PORT`, `ask ADDRESS PORT`.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprintf(w, "%d from %s", len(body), from)
}

func ask(at string) {
	own, err := net.Dial("tcp", at)
	check(err)
	me, _, _ := net.SplitHostPort(own.LocalAddr().String())
	own.Close()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	done := make(chan error)
	for n := 0; n < 20; n++ {
		go func(n int) {
			answer, err := client.Post("http://"+at, "text/plain", strings.NewReader(strings.Repeat("x", n*1000)))
			if err == nil {
				text, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				if want := fmt.Sprintf("%d from %s", n*1000, me); string(text) != want {
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

func main() {
	role, at := "both", "127.0.0.1:0"
	if len(os.Args) == 4 {
		role, at = os.Args[1], net.JoinHostPort(os.Args[2], os.Args[3])
	}
	if role == "ask" {
		ask(at)
		return
	}
	listener, err := net.Listen("tcp", at)
	check(err)
	if role == "serve" {
		check(http.Serve(listener, http.HandlerFunc(answer)))
	}
	go http.Serve(listener, http.HandlerFunc(answer))
	ask(listener.Addr().String())
}
