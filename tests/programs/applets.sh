# shell: /bin/sh
# needs: busybox=busybox
# Every applet of busybox by its help, and each that does the same everywhere by what it does; job control of ash.
set -u
d=$(mktemp -d); cd "$d"; trap 'cd /; rm -rf "$d"' EXIT
for a in $(busybox --list); do echo "$a $(busybox "$a" --help 2>&1 < /dev/null | sha256sum | cut -c1-16)"; done | grep -v -e '^sh ' -e '^ash '
mkdir bin; busybox --install -s bin; ls bin | wc -l
PATH=$d/bin busybox ash <<'END'
seq 1 300 > n; yes ab | head -n 1000 > y; mkdir -p t/u; cp n t/u/; ln -s n t/l; ln n hard; printf 'b 2\na 1\nc 3\n' > k
ar -p /dev/null 2> /dev/null; echo "ar $?"; awk '{ s[$1 % 3] += $1 } END { for (i = 0; i < 3; i++) print s[i] }' n; base64 n | base64 -d | cmp - n; basename a/b.c .c
echo '2 ^ 100; scale = 5; 1 / 7' | bc; bunzip2 -c /dev/null 2> /dev/null; bzip2 -k -c y | bzcat | cmp - y; cal 2 2000; cat n | cmp - n
chmod 4711 k; stat -c '%a %F %s %h' k n; chgrp 7 k; chown 5:6 k; stat -c '%u %g' k; chown 0:0 k; chroot / true; echo "chroot $?"; cmp n y; comm n n 2> /dev/null | wc -l
find t | cpio -o -H newc 2> /dev/null | (mkdir o; cd o; cpio -i 2> /dev/null; find . | sort); crc32 n; cut -d' ' -f2 k; date -u -d @86399 +%T; echo '3 4 + p' | dc
dd if=n bs=10 skip=2 count=3 2> /dev/null; df -P / | wc -l; diff n y | md5sum; dirname /a/b; dos2unix < k | cmp - k; du -a t | wc -l; printf '1a\nx\n.\nw e\nq\n' | ed k > /dev/null; cat e
env -i A=1 env; expand -t 4 k | wc -c; expr 7 % 4; factor 1234567890; fallocate -l 5000 f && stat -c %s f; false; echo "false $?"; find t -type f; fold -w 3 k; free | wc -l
getopt -o ab: -- -a -b x y; grep -c 9 n; gzip -c n | gunzip | cmp - n; head -c 5 n; hexdump -C k; hostid | wc -c; id; ionice; ipcalc -n 10.1.2.3/8
kill -l 9; link k k3 && stat -c %h k3; ln -sf k s; readlink s; logname 2> /dev/null; ls -1 t; lzma -c < /dev/null 2> /dev/null | wc -c; md5sum n; mkdir -m 700 m; stat -c %a m; mkfifo p; (cat n > p &) ; sha256sum < p
mknod nul c 1 3; echo x > nul; stat -c '%F %t %T' nul; mkpasswd -m sha512 -S salt pw; mktemp -u x.XXXXXX | wc -c; mv k4 k5 2> /dev/null; echo "mv $?"; nl k; nproc | grep -c .; od -t x2 k; paste -d, k k
echo 'hello' > pf; printf -- '--- pf\n+++ pf\n@@ -1 +1 @@\n-hello\n+world\n' | patch -p0; cat pf; sleep 31 & until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done; pidof sleep > /dev/null; echo "pidof $?"; kill $!; wait $! 2> /dev/null; echo "kill $?"
ps -o comm | grep -c ps; pwd | wc -w; realpath t/l | sed 's,.*/,,'; renice 5 $$; rev k; mkdir rp; printf '#!/bin/sh\necho part' > rp/a; chmod 755 rp/a; run-parts rp; sed -n '2,3p;$=' n; seq 1 2 9; setsid echo session; sha1sum n; sha3sum n; sha512sum n | cut -c1-9
echo x | shred - 2> /dev/null; shuf -i 1-9 -n 9 | sort | tr -d '\n'; usleep 1000; sort -k2 -n -r k; strings -n 3 y | uniq -c; stty 2>&1 | wc -l; sync; echo "sync $?"; sysctl -n kernel.ostype; tac k; tail -n 2 n
tar -czf a.tgz t; tar -tzf a.tgz | sort; taskset 1 true; echo "taskset $?"; echo tee | tee te; cat te; test 3 -gt 2; echo "test $?"; time true 2> /dev/null; timeout 1 sleep 20; echo "timeout $?"; touch -d '2001-02-03 04:05:06' w; stat -c %Y w; tr a-z A-Z < k
truncate -s 12345 tr; stat -c %s tr; echo x | ts | wc -w; tty; uname -s; unexpand -a k | wc -c; uniq y; unix2dos < k | wc -c; unlink k3; uptime | wc -l; uuencode k < k | uudecode -o - ; wc n; which cat | sed 's,.*/,,'; whoami; xargs -n 100 < n | wc -l
xxd k; xz -c < /dev/null 2> /dev/null | wc -c; sleep 1 | nc -l -p 7591 > got & l=$!; until nc 127.0.0.1 7591 < n 2> /dev/null; do usleep 10000; done; wait $l; cmp got n && echo nc
mkdir www; cp n www; httpd -p 127.0.0.1:7592 -h www; until wget -q -O got http://127.0.0.1:7592/n; do usleep 10000; done; cmp got n && echo httpd; kill $(pidof httpd)
start-stop-daemon -S -b -m -p ssd -x /bin/sleep -- 77; usleep 200000; start-stop-daemon -q -K -p ssd; echo "daemon $?"; unshare -m true; echo "unshare $?"; unshare -u sh -c 'hostname inner; hostname'; nsenter -t $$ -u hostname > /dev/null; echo "nsenter $?"
mkdir mnt; mount -t tmpfs none mnt && echo in > mnt/f && grep -c "$PWD/mnt " /proc/mounts; umount mnt; ls mnt; ip addr show lo | grep -c 127.0.0.1; ip route | grep -c '^lo'; netstat -ln > /dev/null; echo "netstat $?"
logger hello 2> /dev/null; echo "logger $?"; script=1; env -u HOME sh -c 'echo ${HOME-unset}'; setpriv --nnp grep NoNewPrivs /proc/self/status; watch -n 1 true < /dev/null > /dev/null 2>&1 & w=$!; usleep 50000; kill $w; wait $w; echo "watch $?"; telnet 127.0.0.1 7593 2>&1 | head -n 1
END
cat > job.exp <<'END'
set -m
sleep 30 &
jobs | tr -s ' '
kill -STOP %1; until jobs | grep -q Stopped; do :; done; jobs | tr -s ' '
bg %1 > /dev/null; until jobs | grep -q Running; do :; done; kill %1; wait %1; echo "ended $?"
sh -c 'kill -STOP $$; exit 6'; echo "stopped $?"
fg %1 > /dev/null; echo "fg $?"
(sleep 0.05; exit 3) & wait %1; echo "wait $?"
trap 'echo chld' USR1; kill -USR1 $$
exit 4
END
script -qec "busybox ash job.exp" /dev/null < /dev/null | tr -d '\r' | grep -v '^Terminated' # ash says that or not, as chance has it
