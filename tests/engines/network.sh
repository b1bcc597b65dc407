# Networks of Docker. Run once with runc and once with runsc: each case must print the same. The daemon has a network
# namespace of its own, which stands for the host's.
# $DOCKER is the client, $RUNTIME the runtime, $RUNTIME-host the one for --network host, $HOST runs a command on the host's
# network, $WORK is a directory of our own.
d() { timeout -k 5 30 $DOCKER "$@" 2>&1; }
r() { d run --rm --runtime "$RUNTIME" "$@"; }
case_() { echo "== $*"; }
both() { "$@"; echo "status $?"; }
until_() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "never: $*"; }
host() { timeout -k 5 20 $HOST "$@" 2>&1; }
id=net-$RUNTIME
mkdir -p "$WORK/www"; echo hello >"$WORK/www/index.html"; head -c 5000000 /dev/zero | tr '\0' x >"$WORK/www/large"

case_ a published port; d run -d --name "$id" --runtime "$RUNTIME" -p 8080:80 -v "$WORK/www:/www" busy httpd -f -p 80 -h /www >/dev/null
until_ host curl -sf http://127.0.0.1:8080/; both host curl -s http://127.0.0.1:8080/
ip=$(d inspect -f '{{.NetworkSettings.IPAddress}}' "$id")
case_ the container by its address; both host curl -s "http://$ip/"
case_ many bytes; host curl -s "http://$ip/large" | md5sum
case_ many connections; for n in $(seq 20); do host curl -s "http://$ip/" & done | sort | uniq -c | tr -s ' '; wait
case_ from inside; both d exec "$id" wget -q -O - http://127.0.0.1/
case_ its own address from inside; both d exec "$id" wget -q -O - "http://$ip/"
case_ interfaces; d exec "$id" ip -o -4 addr | awk '{print $2, $3, $4}'; d exec "$id" ip route | sed 's/ *$//' | awk '{print $1, $3}'
case_ interfaces as files; d exec "$id" sh -c "sed 's/:.*//' /proc/net/dev | tail -n +3 | sort; wc -l </proc/net/route"
case_ listening sockets; d exec "$id" sh -c "awk '\$4 == \"0A\" {print \$2}' /proc/net/tcp6"
case_ to the host; (cd "$WORK/www" && timeout -k 5 20 $HOST busybox httpd -f -p 172.17.0.1:9000 >/dev/null 2>&1 &); until_ host curl -sf http://172.17.0.1:9000/
both r busy wget -q -O - http://172.17.0.1:9000/
case_ many bytes from the host; r busy sh -c 'wget -q -O - http://172.17.0.1:9000/large | md5sum'
case_ nobody listens; r busy wget -q -O - http://172.17.0.1:9999/ | grep -c refused
case_ a name that does not exist; r --network none busy wget -q -O - http://nosuch.invalid/ | grep -c 'bad address'
case_ the network of another container; both r --network "container:$id" busy wget -q -O - http://127.0.0.1/
d rm -f "$id" >/dev/null
case_ a low port for an ordinary user; both r --user 1000 -v "$WORK/www:/www" busy sh -c 'httpd -p 80 -h /www && wget -q -O - http://127.0.0.1/'
case_ names; d network create "$id" >/dev/null; d run -d --name "$id" --network "$id" --network-alias web --runtime "$RUNTIME" -v "$WORK/www:/www" busy httpd -f -p 80 -h /www >/dev/null
until_ r --network "$id" busy wget -q -O - "http://$id/"; both r --network "$id" busy wget -q -O - "http://$id/"
both r --network "$id" busy wget -q -O - http://web/
case_ the name server; r --network "$id" busy grep nameserver /etc/resolv.conf
case_ datagrams; d exec -d "$id" sh -c 'timeout -k 5 20 nc -u -l -p 5000 >/tmp/got'
for _ in $(seq 40); do r --network "$id" busy sh -c "echo datagram | timeout 1 nc -u $id 5000" >/dev/null; d exec "$id" grep -q datagram /tmp/got && break; done; d exec "$id" head -n 1 /tmp/got
d rm -f "$id" >/dev/null; d network rm "$id" >/dev/null
case_ services of one file that talk by name
printf '%s\n' 'version: "2.4"' 'services:' "  web: {image: busy, runtime: $RUNTIME, command: [httpd, -f, -p, '80', -h, /www], volumes: ['$WORK/www:/www']}" \
    "  client: {image: busy, runtime: $RUNTIME, command: [sh, -c, 'until wget -q -O /out/got http://web/; do sleep 0.1; done; sleep 1000'], volumes: ['$WORK/out:/out'], depends_on: [web]}" >"$WORK/compose.yml"
c() { timeout -k 5 60 docker-compose -p "$id" -f "$WORK/compose.yml" "$@" 2>&1; }
c up -d >"$WORK/said" || cat "$WORK/said"; until_ test -s "$WORK/out/got"; cat "$WORK/out/got"; c exec -T web wget -q -O - http://web/; c exec -T client wget -q -O - http://web/; c down -t 0 >/dev/null; d ps -aq --filter "name=$id"; rm -rf "$WORK/out"
case_ no network; r --network none busy ip -o -4 addr | awk '{print $2, $4}'; r --network none busy sh -c 'wget -q -O - http://172.17.0.1:9000/ >/dev/null 2>&1 || echo unreachable'
case_ loopback without a network; both r --network none -v "$WORK/www:/www" busy sh -c 'httpd -p 127.0.0.1:80 -h /www && wget -q -O - http://127.0.0.1/'
case_ the network of the host; d run --rm --network host --runtime "$RUNTIME-host" busy ip -o -4 addr | awk '{print $2, $4}'
both d run --rm --network host --runtime "$RUNTIME-host" busy wget -q -O - http://172.17.0.1:9000/
