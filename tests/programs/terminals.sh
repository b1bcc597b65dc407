# shell: /bin/bash
# needs: tmux=tmux screen=screen script=bsdutils
# Terminal multiplexers: sessions, panes, keys, sizes, detaching.
set -u
d=$(mktemp -d); cd "$d"; export TMUX_TMPDIR=$d SCREENDIR=$d/screen TERM=xterm SHELL=/bin/sh; unset TMUX; mkdir -m 700 screen
trap 'tmux kill-server 2> /dev/null; screen -S s -X quit > /dev/null 2>&1; cd /; rm -rf "$d"' EXIT
until_() { local i=0; until "$@" 2> /dev/null | grep -q .; do i=$((i+1)); [ $i -lt 400 ] || { echo "gave up: $*"; return 1; }; sleep 0.05; done; }
echo 'PS1="$ "' > rc; export ENV=$d/rc
tmux -f /dev/null new-session -d -s t -x 100 -y 30 'sh -i'; echo "tmux $?"
until_ sh -c "tmux capture-pane -p -t t | grep '^\\$'"
tmux send-keys -t t 'echo size $(stty size); tty | cut -c1-9; echo $((6*7))a' Enter
until_ sh -c 'tmux capture-pane -p -t t | grep 42a$'; tmux capture-pane -p -t t | grep -E '^(size|/dev|42a)'
tmux resize-window -t t -x 80 -y 24; tmux send-keys -t t 'stty size > size2; echo done' Enter
until_ sh -c 'tmux capture-pane -p -t t | grep ^done'; cat size2
tmux send-keys -t t 'sleep 100' Enter; until_ sh -c "tmux display -p -t t '#{pane_current_command}' | grep sleep"; tmux send-keys -t t C-c; until_ sh -c "tmux display -p -t t '#{pane_current_command}' | grep -x sh"
tmux send-keys -t t 'echo status $?' Enter; until_ sh -c 'tmux capture-pane -p -t t | grep "^status"'; tmux capture-pane -p -t t | grep ^status
tmux split-window -t t 'cat'; tmux list-panes -t t -F '#{pane_width}x#{pane_height}'; tmux kill-session -t t
screen -dmS s sh -c 'echo x > begun; exec sh -i'; echo "screen $?"; until_ sh -c 'screen -ls | grep Detached'; until_ cat begun; screen -S s -p 0 -X stuff 'stty size > size; tty > tty; echo ok > okay\n'
until_ cat okay; cat okay; cut -c1-9 tty; screen -ls | grep -c 'Detached)'; screen -S s -X quit; echo "quit $?"
script -qec 'stty -a | head -1; tty | cut -c1-9; echo in > file; exit 5' typescript < /dev/null > out; echo "script $?"; cat out | tr -d '\r' | grep -v rows
printf 'echo typed\nexit\n' | script -qc 'sh' /dev/null | tr -d '\r' | grep -c typed
script -qec 'trap "echo winch" WINCH; stty rows 11 cols 22; stty size; kill -WINCH $$' /dev/null < /dev/null | tr -d '\r'
