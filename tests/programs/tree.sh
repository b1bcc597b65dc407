# shell: /bin/sh
# needs: tar=tar gzip=gzip find=findutils sed=sed awk=mawk sha256sum=coreutils /usr/include/stdio.h=libc6-dev
# coreutils, find, tar, gzip, sed and awk over a large tree.
set -eu
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
mkdir inc; cp -a /usr/include/linux /usr/include/x86_64-linux-gnu /usr/include/*.h inc
find inc -type f | wc -l
find inc | sort | sha256sum
find inc -type f -name '*.h' -size +20k | sort | head -20
find inc -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum
tar --sort=name --owner=0 --group=0 --mtime=@0 -cf one.tar inc; sha256sum < one.tar
gzip -n6 -k one.tar; sha256sum < one.tar.gz
mkdir out; tar -xzf one.tar.gz -C out; diff -r --no-dereference inc out/inc && echo identical
find out -type f -name '*.h' | sort | xargs sed -i 's/include/INCLUDE/g'
find out -type f | sort | xargs cat | sha256sum
find out -type f | sort | xargs awk '/^#define/ { n[$2]++ } END { for (k in n) t++; print t }'
find out -type f -name '*.h' | sort | xargs wc -l | tail -1
mkdir many; i=0; while [ $i -lt 3000 ]; do echo "content $i" > "many/file$i"; i=$((i+1)); done
ls many | wc -l; cat many/* | sort | sha256sum
find many -name '*7' -delete; ls many | wc -l
cp -r many copy; rm -rf many; mv copy many; ls many | sort | tail -3
chmod -R go-rwx many; find many -perm 600 | wc -l
ln many/file1 hard; stat -c '%h %s' hard; ln -s many soft; ls -L soft | wc -l
touch -d '2020-01-02 03:04:05' stamp; stat -c '%Y' stamp; find . -maxdepth 1 -not -newer stamp | sort
split -b 100000 one.tar part.; cat part.* | cmp - one.tar && echo rejoined
sort -R inc/stdio.h | sort | sha256sum; uniq -c inc/stdio.h | wc -l; comm -12 inc/stdio.h inc/stdio.h | wc -l
dd if=one.tar bs=4096 skip=3 count=10 2>/dev/null | sha256sum
du -s --apparent-size -B1 out/inc/linux 2>/dev/null | awk '{ print ($1 > 0) }'
truncate -s 1M sparse; stat -c %s sparse; cmp -n 1000000 sparse /dev/zero && echo zeros
