# shell: /bin/sh
# needs: nginx=nginx-light ab=apache2-utils curl=curl
# A web server with two workers: files, ranges, redirects, a proxy, keep-alive and a reload.
set -eu
d=$(mktemp -d); cd "$d"; chmod 755 "$d"; trap 'kill $p 2>/dev/null || true; wait; rm -rf "$d"' EXIT
mkdir www tmp; seq 1 50000 > www/numbers; echo hello > www/index.html; seq 1 100 > www/small
cat > conf <<END
user root; worker_processes 2; daemon off; pid $d/pid; error_log $d/error.log;
events { worker_connections 128; }
http { access_log $d/access.log; sendfile on; tcp_nopush on; gzip on; gzip_types text/plain; default_type text/plain;
 client_body_temp_path tmp/b; proxy_temp_path tmp/p; fastcgi_temp_path tmp/f; uwsgi_temp_path tmp/u; scgi_temp_path tmp/s;
 server { listen 127.0.0.1:7481; listen unix:$d/sock; root $d/www;
  location /old { return 301 /new; } location /p/ { proxy_pass http://unix:$d/sock:/; } location /deny { deny all; } } }
END
nginx -p "$d" -c conf -e "$d/error.log" 2> err & p=$!
i=0; until curl -sf http://127.0.0.1:7481/ > /dev/null; do i=$((i+1)); [ $i -lt 400 ] || { cat err error.log; exit 1; }; sleep 0.05; done
u=http://127.0.0.1:7481
curl -s $u/; curl -s $u/numbers | sha256sum; curl -s -r 100-199 $u/numbers | sha256sum; curl -s --compressed $u/numbers | sha256sum
curl -s -o /dev/null -w '%{http_code} %{redirect_url}\n' $u/old; curl -s -o /dev/null -w '%{http_code}\n' $u/none; curl -s -o /dev/null -w '%{http_code}\n' $u/deny
curl -s $u/p/numbers | sha256sum; curl -s --unix-socket sock http://x/small | sha256sum
curl -s -d @www/numbers -o /dev/null -w '%{http_code}\n' $u/small
c=; for k in 1 2 3 4 5 6; do curl -s $u/numbers $u/small $u/p/small | sha256sum & c="$c $!"; done; wait $c
ab -q -k -n 2000 -c 16 $u/small | grep -E '^(Complete|Failed|Keep-Alive r|Document L|Total tr|HTML)'
ab -q -n 500 -c 8 $u/numbers | grep -E '^(Complete|Failed|HTML)'
nginx -p "$d" -c conf -e "$d/error.log" -s reload; sleep 0.3; curl -s $u/
kill -QUIT $p; wait $p && echo "server ended"
wc -l < access.log; grep -c -v -e notice -e 'forbidden by rule' -e 'No such file' error.log || true
