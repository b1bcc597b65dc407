# shell: /bin/sh
# needs: gcc=gcc make=make /usr/include/stdio.h=libc6-dev
# Compiles and links a program of many files, and runs it.
set -eu
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
for i in 1 2 3 4 5 6 7 8; do
  echo "int f$i(int x) { return x * $i + $i; }" > f$i.c
done
{ for i in 1 2 3 4 5 6 7 8; do echo "int f$i(int);"; done
  echo '#include <stdio.h>'; echo '#include <math.h>'; echo '#include <pthread.h>'
  echo 'static void *t(void *a) { long s = 0; for (int i = 0; i < 1000; i++) s += f8(i); return (void *)(s + (long)a); }'
  echo "int main(void) { int s = 0;"
  for i in 1 2 3 4 5 6 7 8; do echo "s += f$i($i);"; done
  echo 'pthread_t p; void *r; pthread_create(&p, 0, t, (void *)5L); pthread_join(p, &r);'
  echo 'printf("%d %.6f %ld\\n", s, sqrt(2.0), (long)r); return 3; }'; } > main.c
cat > Makefile <<'END'
OBJ = main.o f1.o f2.o f3.o f4.o f5.o f6.o f7.o f8.o
prog: $(OBJ) ; gcc -o $@ $(OBJ) -lm -pthread
%.o: %.c ; gcc -O2 -Wall -c $<
END
make -j2 > log; sort log | sha256sum
./prog || echo "status $?"
gcc -static -O1 -o stat main.c f?.c -lm -pthread; ./stat || echo "status $?"
gcc -shared -fPIC -o libf.so f?.c; gcc -o dyn main.c -L. -lf -lm -Wl,-rpath,"$d"; ./dyn || echo "status $?"
ar rcs libf.a f?.o; gcc -o arch main.o libf.a -lm; ./arch || echo "status $?"
echo 'int main(void) { return bad; }' | gcc -x c - 2>/dev/null || echo "error status $?"
touch f3.c; make | grep -c gcc
sha256sum f1.o main.o
