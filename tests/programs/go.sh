# shell: /bin/sh
# needs: go=golang-go
# heavy: compiles its own library, up to a minute
# Go: the tool chain, then a program with many goroutines, pre-emption, sockets, processes, signals and the race of timers.
set -eu
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
export GOCACHE="$d/cache" GOPATH="$d/path" GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=0 GO111MODULE=on
cat > go.mod <<'END'
module example.org/m
go 1.19
END
cat > main.go <<'END'
package main
import ("bufio"; "crypto/sha256"; "fmt"; "io"; "net"; "net/http"; "os"; "os/exec"; "os/signal"; "runtime"; "sync"; "syscall"; "time")
func spin(stop *bool) { for !*stop { } }
func main() {
  var w sync.WaitGroup; c := make(chan int, 10); total := 0
  for i := 0; i < 1000; i++ { w.Add(1); go func(n int) { defer w.Done(); for k := 0; k < 20; k++ { c <- n; runtime.Gosched() } }(i) }
  go func() { w.Wait(); close(c) }(); for n := range c { total += n }; fmt.Println("goroutines", total)
  for i := 0; i < 4; i++ { go func() { x := 0; for { x++ } }() } // only pre-emption by signals takes these off their threads
  time.Sleep(20 * time.Millisecond); runtime.GC(); fmt.Println("preempted")
  l, err := net.Listen("tcp", "127.0.0.1:0"); if err != nil { panic(err) }
  go http.Serve(l, http.HandlerFunc(func(r http.ResponseWriter, q *http.Request) { b, _ := io.ReadAll(q.Body); fmt.Fprintf(r, "%x", sha256.Sum256(b)) }))
  var m sync.Mutex; sums := map[string]int{}
  for i := 0; i < 30; i++ { w.Add(1); go func() { defer w.Done(); r, err := http.Post("http://"+l.Addr().String()+"/", "x/y", io.LimitReader(zero{}, 100000)); if err != nil { panic(err) }
    b, _ := io.ReadAll(r.Body); r.Body.Close(); m.Lock(); sums[string(b)]++; m.Unlock() }() }
  w.Wait(); fmt.Println(sums)
  os.Remove("s"); u, err := net.Listen("unix", "s"); if err != nil { panic(err) }; go func() { a, _ := u.Accept(); io.Copy(a, a); a.Close() }()
  k, _ := net.Dial("unix", "s"); fmt.Fprintln(k, "echo"); k.(*net.UnixConn).CloseWrite(); line, _ := bufio.NewReader(k).ReadString('\n'); fmt.Print(line)
  out, err := exec.Command("sh", "-c", "echo child; exit 3").CombinedOutput(); fmt.Printf("%s%v\n", out, err)
  s := make(chan os.Signal, 1); signal.Notify(s, syscall.SIGUSR1); syscall.Kill(os.Getpid(), syscall.SIGUSR1); fmt.Println(<-s)
  func() { defer func() { fmt.Println("recovered", recover()) }(); var p *int; *p = 1 }()
  select { case <-time.After(10 * time.Millisecond): fmt.Println("timer"); case <-make(chan int): }
  f, _ := os.Create("f"); f.Write(make([]byte, 1000)); b, err := syscall.Mmap(int(f.Fd()), 0, 1000, syscall.PROT_READ, syscall.MAP_SHARED); fmt.Println(len(b), err)
  os.Exit(6)
}
type zero struct{}
func (zero) Read(b []byte) (int, error) { for i := range b { b[i] = 7 }; return len(b), nil }
END
cat > main_test.go <<'END'
package main
import "testing"
func TestIt(t *testing.T) { t.Parallel(); if 6*7 != 42 { t.Fatal() } }
func TestSub(t *testing.T) { t.Run("a", func(t *testing.T) {}) }
END
go vet ./... 2>&1 | head -3; go build -o prog . && echo built
i=0; while [ $i -lt 3 ]; do ./prog || echo "exit $?"; i=$((i+1)); done
go test ./... 2>&1 | sed 's/[0-9.]*s$//'
