# shell: /bin/bash
# needs: rsync=rsync ssh=openssh-client /usr/sbin/sshd=openssh-server ssh-keygen=openssh-client
# Copies by rsync, locally, by its daemon and by ssh; a server of ssh on loopback with a terminal and forwarded ports.
set -u
d=$(mktemp -d); cd "$d"; chmod 755 .; trap 'kill $(cat pid sshd.pid) 2> /dev/null; rm -rf "$d"' EXIT
sum() { (cd "$1" && find . -mindepth 1 -printf '%P %y %m %s %l %Ts\n' | sort | sed 's/^\(.* d [0-7]*\) [0-9]*/\1/'; find . -type f | sort | xargs sha256sum) | sha256sum; }
cp -r /usr/share/perl5 a; ln -s x a/link; ln a/perl5db.pl a/hard 2> /dev/null; truncate -s 300000 a/sparse; mkfifo a/fifo; touch -d 2001-02-03 a/old; chmod 4750 a/old
rsync -aHS a/ b/; echo "rsync $?"; [ "$(sum a)" = "$(sum b)" ] && echo same
rm -rf a/Debian*; echo more >> a/old; rsync -aHS --delete --stats a/ b/ | grep -E 'Number of (deleted|created|regular)'; [ "$(sum a)" = "$(sum b)" ] && echo same
printf 'use chroot = no\nuid = root\npid file = %s/pid\n[m]\npath = %s/a\nread only = yes\n' "$d" "$d" > conf
rsync --daemon --config=conf --port=7873 --address=127.0.0.1; i=0; until rsync rsync://127.0.0.1:7873/ > l 2> /dev/null; do sleep 0.1; i=$((i+1)); [ $i -lt 100 ] || break; done; cat l
rsync -aHS rsync://127.0.0.1:7873/m/ c/; echo "daemon $?"; [ "$(sum a)" = "$(sum c)" ] && echo same
ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f user; cp user.pub keys
mkdir -p /run/sshd; cat > sshd <<END
Port 7822
ListenAddress 127.0.0.1
HostKey $d/host
AuthorizedKeysFile $d/keys
PidFile $d/sshd.pid
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
PrintMotd no
PrintLastLog no
AcceptEnv LC_*
END
/usr/sbin/sshd -f sshd -E sshd.log; echo "sshd $?"
printf 'Host *\n Port 7822\n User root\n IdentityFile %s/user\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n' "$d" > ssh
s() { ssh -F "$d/ssh" "$@"; }
i=0; until s 127.0.0.1 true 2> /dev/null; do sleep 0.05; i=$((i+1)); [ $i -lt 200 ] || break; done
s 127.0.0.1 'echo over ssh; id -u; exit 7'; echo "ssh $?"
seq 1 100000 | s 127.0.0.1 'sha256sum; echo err >&2' 2>&1 | sort
s -tt 127.0.0.1 'tty | cut -c1-9; stty size' < /dev/null | tr -d '\r' | head -1
s 127.0.0.1 'kill -9 $$'; echo "killed $?"
rsync -aHS -e "ssh -F $d/ssh" a/ 127.0.0.1:"$d/e/"; [ "$(sum a)" = "$(sum e)" ] && echo same
scp -F ssh -q 127.0.0.1:"$d/l" copied && cmp l copied && echo copied
echo "get $d/l fetched" | sftp -F ssh -b - 127.0.0.1 > /dev/null && cmp l fetched && echo fetched
s -f -N -M -S "$d/mux" -L "$d/fwd:127.0.0.1:7873" 127.0.0.1; i=0; until [ -S fwd ]; do sleep 0.05; i=$((i+1)); [ $i -lt 200 ] || break; done
s -S "$d/mux" 127.0.0.1 'echo shared'; s -S "$d/mux" -O exit 127.0.0.1 2>&1
