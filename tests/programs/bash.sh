# shell: /bin/bash
# needs: bash=bash seq=coreutils awk=mawk
# Pipelines, redirections, traps, job control.
set -u
d=$(mktemp -d); cd "$d"
# A child of bash that is killed before it runs its program may still run the shell's EXIT trap, natively as well: there is
# none here, and nothing is killed before it is what it is to be.
running() { until [ "$(cat "/proc/$1/comm")" = "$2" ]; do :; done; }
echo "pipeline: $(seq 1 1000 | grep 7 | sort -rn | head -5 | tr '\n' ' ')"
seq 1 20000 | awk '{s+=$1} END {print "sum", s}'
yes | head -c 100000 | wc -c
false | true; echo "pipestatus ${PIPESTATUS[*]} $?"
(exit 7); echo "subshell $?"
cat <<END > here
line one $((6*7))
END
cat here; cat < here > there; cmp here there && echo same
{ echo out; echo err >&2; } 2>&1 | sort
diff <(seq 1 5) <(seq 2 6); echo "diff $?"
read -r first < <(echo from substitution); echo "$first"
exec 5>fd5; echo five >&5; exec 5>&-; cat fd5
printf '%s\n' {a..e}{1,2} | paste -sd, -
shopt -s nullglob extglob
touch a1 a2 b1; echo a* !(a*|here|there|fd5) none*
declare -A m=([x]=1 [y]=2); for k in $(printf '%s\n' "${!m[@]}" | sort); do echo "$k=${m[$k]}"; done
f() { local v=$1; [ "$v" -le 1 ] && echo 1 || echo $((v * $(f $((v-1))))); }; echo "factorial $(f 8)"
trap 'echo got usr1' USR1; kill -USR1 $$; trap - USR1
bash -c 'trap "echo bye" EXIT; exit 3'; echo "status $?"
bash -c 'kill -TERM $$'; echo "killed $?"
bash -c 'ulimit -n 64; ulimit -n'
sleep 0.05 & p=$!; wait $p; echo "wait $?"
(sleep 0.01; exit 4) & wait $!; echo "wait $?"
for i in 1 2 3 4 5; do (echo "job $i" > "job$i") & done; wait; cat job*
jobs > /dev/null # an ended job that bash saw before `wait` would else be told of below, as chance has it
set -m
sleep 10 & p=$!; running $p sleep; kill -STOP $p; wait $p 2>/dev/null; echo "stopped $?"
jobs | sed 's/  */ /g; s/^.[0-9]*.[+-]* //'
kill -CONT $p; until jobs %% | grep -q Running; do :; done; kill $p; wait $p 2>/dev/null; echo "killed $?"
bash -c 'sleep 0.1; echo bg done' & fg %% > /dev/null; echo "fg $?"
set +m
coproc cat; running "$COPROC_PID" cat; echo through coproc >&"${COPROC[1]}"; read -r back <&"${COPROC[0]}"; echo "$back"; kill "$COPROC_PID"; wait "$COPROC_PID" 2>/dev/null
timeout 0.1 sleep 5; echo "timeout $?"
mkfifo p; (echo via fifo > p) & cat p; wait
umask 027; touch masked; stat -c %a masked
time_out=$( { TIMEFORMAT=%R; time true; } 2>&1 ); [[ $time_out == 0.* ]] && echo timed
cd / && rm -rf "$d"
