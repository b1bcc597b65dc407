# shell: /bin/sh
# needs: busybox=busybox
# The ash shell of busybox and its applets.
set -u
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
busybox ash <<'END'
b=busybox
$b seq 1 500 | $b grep -c 3
$b seq 1 100 | $b awk '{ s += $1 * $1 } END { print s }'
$b mkdir -p t/a/b t/c; $b echo hello > t/a/f; $b cp t/a/f t/c/g; $b ln -s ../a/f t/c/l
$b find t | $b sort
$b tar cf t.tar t; $b tar tf t.tar | $b sort; $b mkdir x; $b tar xf t.tar -C x; $b cat x/t/c/l
$b gzip -c t.tar | $b gunzip | $b cmp - t.tar && echo gzip ok
$b md5sum t/a/f; $b sha256sum t/a/f
$b sed 's/l/L/g' t/a/f; $b tr a-z A-Z < t/a/f; $b cut -c2-4 t/a/f; $b od -c t/a/f | $b head -1
$b sort -r -n <<X
10
9
100
X
for i in 1 2 3; do ( $b echo "child $i"; exit $i ); $b echo "status $?"; done
$b sleep 0.05 & wait $!; echo "waited $?"
$b sleep 10 & kill $!; wait $!; echo "killed $?"
$b stat -c '%a %s %F' t/a/f
$b dd if=/dev/zero of=z bs=1k count=100 2>/dev/null; $b wc -c < z
$b printf '%05d|%s\n' 42 end
$b env -i X=1 $b sh -c 'echo $X'
$b vi --help >/dev/null 2>&1; $b expr 6 \* 7; $b dirname /a/b/c; $b basename /a/b/c.txt .txt
$b id -u; $b test -d t && echo dir; $b du -s -k /proc >/dev/null 2>&1; $b cmp t/a/f t/c/g && echo same
$b xargs -n 2 echo <<X
1 2 3 4 5
X
END
