# shell: /bin/bash
# needs: ps=procps top=procps free=procps vmstat=procps pmap=procps lsof=lsof ip=iproute2 ss=iproute2 htop=htop pstree=psmisc fuser=psmisc perl=perl lscpu=util-linux lslocks=util-linux script=bsdutils
# What shows the system: procps, psmisc, lsof, util-linux and iproute2, of which only what is the same everywhere is printed.
set -u
renice -n 0 -p $$ > /dev/null
d=$(mktemp -d); cd "$d"; trap 'kill $p $q $l 2> /dev/null; cd /; rm -rf "$d"' EXIT
named() { sed -e "s/pid $p's/pid P's/; s/($p)/(P)/; s/($q)/(Q)/; s/^$p\(:\|\$\)/P\1/; s/^$q\$/Q/; s|$d|DIR|g"; }
sleep 86510 & p=$!
nice -n 7 sleep 86511 & q=$!
until [ "$(cat /proc/$p/comm)$(cat /proc/$q/comm)" = sleepsleep ]; do :; done
echo "-- procps"
ps -o pid=,ppid=,stat=,comm=,args=,nlwp=,ni=,cls=,rtprio=,tty=,uid=,euser= -p $p,$q 2>&1 | awk -v p=$p -v s=$$ '{ $1 = $1 == p ? "P" : "Q"; $2 = $2 == s; print }'
ps -eo pid,ppid,comm 2>&1 | awk -v s=$$ '$2 == s && $3 == "sleep"' | wc -l
# Numbers that nobody else on the machine sleeps for.
ps axjf 2>&1 | grep -c "[s]leep 8651[01]"
pgrep -f -P $$ 'sleep 8651' 2>&1 | sort -n | named
pidof sleep | tr ' ' '\n' | grep -cx "$p"
top -b -n 1 -p $p 2>&1 | awk -v p=$p '$1 == p { print $2, $3, $4, $8, $12 }  /^(Tasks|%Cpu|MiB Mem)/ { print $1 }'
free -k 2>&1 | awk 'NR == 2 { print $1, NF, ($2 > $4), ($2 >= $7) } NR == 3 { print $1, NF }'
vmstat 2>&1 | awk '{ print NF }'
vmstat -s 2>&1 | grep -c -E 'total memory|free memory|CPU context switches|forks'
pmap $p 2>&1 | grep -o -E 'libc.so.6|\[ stack \]|^ total' | sort | uniq -c
pmap -x $p 2>&1 | awk '/stack/ { print "stack resident", ($3 > 0) }'
pwdx $p | named; uptime | grep -o 'load average'; w -h | wc -l
watch --version > /dev/null && echo watch
skill --version > /dev/null; pkill -STOP -P $$ -f 'sleep 86511'; until [ "$(ps -o stat= -p $q | cut -c1)" = T ]; do :; done; ps -o stat= -p $q | cut -c1; kill -CONT $q
sysctl -n kernel.ostype kernel.pid_max fs.pipe-max-size | sed -n '1p;3p'
script -qec 'stty rows 40 cols 100; timeout -s INT 1 htop -d 2' /dev/null < /dev/null 2>&1 | grep -a -c -m 1 -E 'Mem|PID'
echo "-- psmisc, lsof"
pstree -p $$ 2>&1 | grep -o -E 'sleep\([0-9]+\)' | sort | named
exec 7> held; fuser held 2> /dev/null | grep -cw $$
lsof -a -p $p -d cwd,txt,0 -F fn 2>&1 | named | grep -v '^p'
lsof -t held 2> /dev/null | grep -cx $$
echo "-- util-linux"
lscpu | grep -E '^(Architecture|CPU\(s\)|On-line|Vendor ID|Model name|Byte Order)' | tr -s ' '; lscpu -p=CPU,NODE | grep -c '^[0-9]'
taskset -p $p | named; chrt -p $p | named; ionice -p $p; prlimit -p $p --nofile --core -o RESOURCE,SOFT,HARD | tr -s ' '
prlimit -p $p --nofile=100:200; prlimit -p $p --nofile -o SOFT,HARD --noheadings | tr -s ' '
renice -n 3 -p $p > /dev/null; ps -o ni= -p $p; choom -p $p -n 77 | named
flock held sh -c 'lslocks -n -o COMMAND,TYPE,MODE,M,START,END,PATH | grep held' | named | tr -s ' '
findmnt -n -o TARGET,SOURCE,FSTYPE /proc; mountpoint -q /proc; echo $?; mountpoint -q "$d"; echo $?
lsns -n -o TYPE -p $$ | sort | tr '\n' ' '; echo
unshare -m sh -c 'mount -t tmpfs -o size=1m thing /mnt; findmnt -n -o SOURCE,FSTYPE /mnt; mkdir /mnt/sub; mount --bind /mnt/sub /mnt; findmnt -n -o SOURCE /mnt | tail -1; umount /mnt'
unshare -u sh -c 'hostname inner; hostname'; setpriv --reuid 1000 --regid 1000 --clear-groups id -u
lsipc -g -o RESOURCE 2>&1 | wc -l; ipcmk -M 4096 > /dev/null && ipcs -m | awk 'NR > 3 && NF { print $4, $5 }'; ipcrm --all=shm; setsid -w sh -c 'ps -o pid=,sid= -p $$' | awk '{ print $1 == $2 }'
lsmem > /dev/null 2>&1; lsblk > /dev/null; echo $?; dmesg > /dev/null 2>&1; rev <<< abc; column -t <<< 'a bb c'; mcookie | wc -c; getopt -o a: -- -a 1 x; logger --version > /dev/null; namei -m /proc/self/fd | head -2
echo "-- iproute2"
perl -MIO::Socket::INET -MIO::Socket::UNIX -e '$| = 1; $t = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1") or die; $u = IO::Socket::INET->new(Proto => "udp", LocalAddr => "127.0.0.1") or die;
    $x = IO::Socket::UNIX->new(Listen => 3, Local => "sock") or die; $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $t->sockport) or die; $a = $t->accept; print $c "four";
    select undef, undef, undef, 0.02 until `ss -Htn` =~ /ESTAB 4 /; print $t->sockport, " ", $u->sockport, " ", $c->sockport, "\n"; sleep 1000' > ports & l=$!
until [ -s ports ]; do kill -0 $l || break; done; read -r t u c < ports
ports() { sed -e "s/\b$t\b/T/g; s/\b$u\b/U/g; s/\b$c\b/C/g; s/pid=$l,fd=[0-9]*/L/g" | tr -s ' ' | sort; }
ss -Htlnp "sport = $t" 2>&1 | ports; ss -Htnp state established "sport = $t or dport = $t" 2>&1 | ports; ss -Hulnp 2>&1 | grep ":$u " | ports; ss -Hxl src sock 2>&1 | awk '{ print $1, $2, $3, $4, $5 }'; ss -s 2>&1 | grep -c '^TCP:'
ip -o addr show dev lo 2>&1; ip -o link show dev lo 2>&1; ip rule; ip -j addr show dev lo | grep -c '"ifname":"lo"'; ip route get 127.0.0.1 | sed 's/ uid [0-9]*//'; ip link show dev nothing; ip -s link show dev lo | head -2 | tail -1
